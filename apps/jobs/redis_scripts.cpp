#include "jobs/redis_scripts.h"

namespace ernie_image::redis_scripts {

const std::string_view kSubmit = R"lua(
local owner, key, request = ARGV[3], ARGV[4], ARGV[5]
local model, priority, batch, most = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
local function is_known(id)
  return redis.call('EXISTS', job_key(id), P .. ':damaged:' .. id) > 0 or final_job(id)
end
if redis.call('EXISTS', job_key(subject)) == 1 then return {subject} end
if key ~= '' then
  local known = redis.call('HGET', P .. ':keys', raw(key))
  if known then
    local ok, found = pcall(is_known, hex(known))
    if found or not ok then return {hex(known), 'known'} end
  end
end
if redis.call('ZCARD', P .. ':waiting') >= most then
  return {'full', redis.call('GET', P .. ':mean_ms') or '0',
          tostring(redis.call('ZCOUNT', P .. ':workers', now - 30000, '+inf'))}
end
redis.call('HSET', job_key(subject), 'owner', owner, 'owner_hash', redis.sha1hex(owner), 'key', key,
           'request', request, 'model_hash', model, 'priority', priority, 'batch', batch,
           'pixels', ARGV[10], 'images', ARGV[11], 'has_inputs', ARGV[12],
           'created_ms', now, 'attempts', 0, 'sequence', redis.call('INCR', P .. ':sequence'))
set_state(subject, 'queued')
if key ~= '' then redis.call('HSET', P .. ':keys', raw(key), raw(subject)) end
redis.call('HSETNX', P .. ':served', model, now)
enqueue(subject, false)
return {subject}
)lua";

const std::string_view kKnown = R"lua(
local known = redis.call('HGET', P .. ':keys', raw(subject))
return known and hex(known) or ''
)lua";

const std::string_view kFind = R"lua(
return fields_of(subject) or {}
)lua";

const std::string_view kList = R"lua(
local owner, state, before, limit = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local oldest_first = ARGV[7] == 'oldest'
local range = oldest_first and 'ZRANGEBYSCORE' or 'ZREVRANGEBYSCORE'
local from, to = '+inf', '-inf'
if oldest_first then from, to = to, from end
if before ~= '' then
  local ok, job = pcall(final_job, before)
  local sequence = ok and job and job.sequence or redis.pcall('HGET', job_key(before), 'sequence')
  if not sequence or type(sequence) == 'table' then return {} end
  from = '(' .. tostring(sequence)
end
local sets = {}
for _, each in ipairs(states) do
  local is_wanted = state == '' or state == each
  if is_wanted and subject == 'owned' then sets[#sets + 1] = index(redis.sha1hex(owner), each) end
end
if subject ~= 'owned' then
  if state == '' or state == 'queued' then sets[#sets + 1] = P .. ':waiting' end
  if state == '' or state == 'running' then sets[#sets + 1] = P .. ':running' end
end
-- The first `limit` of each set hold the first `limit` of all. Those that are gone are few: what
-- has ended long ago is swept, and no more than this are looked at.
local jobs, looked_at, most = {}, 0, limit + 200
sweep(200)
while #jobs < limit and looked_at < most do
  local found = {}
  for _, set in ipairs(sets) do
    local ids = redis.call(range, set, from, to, 'WITHSCORES', 'LIMIT', 0, limit - #jobs)
    for i = 1, #ids, 2 do found[#found + 1] = {tonumber(ids[i + 1]), ids[i], set} end
  end
  if #found == 0 then break end
  table.sort(found, function(a, b)
    if oldest_first then return a[1] < b[1] end
    return a[1] > b[1]
  end)
  for i = 1, math.min(#found, limit - #jobs) do
    local id = hex(found[i][2])
    local fields = fields_of(id)
    looked_at = looked_at + 1
    if fields then
      fields[#fields + 1] = 'id'
      fields[#fields + 1] = id
      jobs[#jobs + 1] = fields
    elseif redis.call('HEXISTS', P .. ':done', found[i][2]) == 0 then
      redis.call('ZREM', found[i][3], found[i][2])
    end
    from = '(' .. tostring(found[i][1])
  end
end
return jobs
)lua";

const std::string_view kCancel = R"lua(
local state = get(subject, 'state')
if state == 'queued' then
  guarded(subject, ARGV[3], finish, subject, 'cancelled', '', '', '', ARGV[3])
  return {subject, unpack(over)}
end
if state ~= 'running' then return {} end
set(subject, 'cancel', 1)
-- Nothing has been done of it: its worker hears of it when it begins, everybody else now.
local progress = get(subject, 'progress') or ''
if progress == '' or string.find(progress, '"stage":""', 1, true) then
  guarded(subject, ARGV[3], finish, subject, 'cancelled', '', '', '', ARGV[3])
end
return {subject, unpack(over)}
)lua";

const std::string_view kRemove = R"lua(
if redis.call('DEL', P .. ':damaged:' .. subject) == 1 then return 1 end
local job = final_job(subject)
if not job then return 0 end
forget(subject, job)
tell('changed', subject)
return 1
)lua";

const std::string_view kReplaceOutcome = R"lua(
local job = final_job(subject)
if not job or job.outcome ~= ARGV[3] then return 0 end
local values = {}
for i, name in ipairs(packed_fields) do values[i] = job[name] end
for i, name in ipairs(packed_fields) do if name == 'outcome' then values[i] = ARGV[4] end end
redis.call('HSET', P .. ':done', raw(subject), cmsgpack.pack(values))
tell('changed', subject)
return 1
)lua";

const std::string_view kSetAside = R"lua(
set_aside(subject, ARGV[3])
return 0
)lua";

const std::string_view kClaim = R"lua(
local worker, most, pixels, least = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local speed, seconds, name = tonumber(ARGV[7]), ARGV[8], ARGV[9]
-- Pictures of that size that are made at once at a gain.
local function limit_for(size)
  if size < least then return 1 end
  if pixels == 0 then return most end
  return math.max(1, math.min(most, math.floor(pixels / size)))
end
-- Of what waits, so that no other worker is left without. More than `enough` need not be counted.
local function share(enough)
  local fleet = P .. ':fleet:' .. subject
  local workers = redis.call('ZCOUNT', fleet, now - 30000, '+inf')
  if not redis.call('ZSCORE', fleet, name) then workers = workers + 1 end
  local part = 1 / math.max(1, workers)
  local total = tonumber(redis.call('GET', P .. ':total:' .. subject) or 0)
  local known = redis.call('HLEN', P .. ':pace:' .. subject)
  if speed > 0 and total > 0 and known > 0 then
    part = math.min(1, speed / (total * workers / known))
  end
  local waiting = 0
  for priority = 2, 0, -1 do
    local turns = lane(priority, subject)
    for _, owner in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
      waiting = waiting + redis.call('ZCARD', turns .. ':' .. owner)
      if waiting * part >= enough then return enough end
    end
  end
  return math.max(1, math.floor(waiting * part + 0.999))
end
local function next_job()
  for priority = 2, 0, -1 do
    local turns = lane(priority, subject)
    local owner = redis.call('ZRANGE', turns, 0, 0)[1]
    if owner then
      return redis.call('ZRANGE', turns .. ':' .. owner, 0, 0)[1], turns, owner, priority
    end
  end
end
local function take(id, turns, owner)
  local jobs = turns .. ':' .. owner
  if id then redis.call('ZREM', jobs, id) end
  if redis.call('ZCARD', jobs) > 0 then
    redis.call('ZADD', turns, redis.call('INCR', P .. ':place'), owner)
  else
    redis.call('ZREM', turns, owner)
  end
  if id then redis.call('ZREM', P .. ':waiting', raw(id)) end
end
local function begin(id, priority)
  local work = stream(priority, subject)
  redis.pcall('XGROUP', 'CREATE', work, 'workers', '0', 'MKSTREAM')
  local entry = redis.call('XADD', work, '*', 'job', id)
  redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', 1, 'STREAMS', work, '>')
  redis.call('HINCRBY', job_key(id), 'attempts', 1)
  set_state(id, 'running')
  set(id, 'worker', worker, 'entry', entry, 'started_ms', now)
  redis.call('ZADD', P .. ':running', get(id, 'sequence'), raw(id))
end
local ids, batch, images, fitting, jobs_most = {}, nil, 0, most, most
while #ids < jobs_most do
  local id, turns, owner, priority = next_job()
  if not turns then break end
  local ok, f = pcall(redis.call, 'HMGET', job_key(id or ''), 'batch', 'pixels', 'images')
  f = ok and f or {}
  local more = tonumber(f[3] or 1) or 1
  if batch and (f[1] ~= batch or images + more > fitting) then break end
  if not batch then
    fitting = limit_for(tonumber(f[2] or 1) or 1)
    jobs_most = fitting > 1 and share(fitting) or 1
  end
  take(id, turns, owner)
  if id and redis.call('EXISTS', job_key(id)) == 1 then
    if guarded(id, seconds, begin, id, priority) then
      batch = f[1]
      images = images + more
      ids[#ids + 1] = id
    end
  end
end
return ids
)lua";

const std::string_view kReclaim = R"lua(
local idle, most, seconds = ARGV[3], tonumber(ARGV[4]), ARGV[5]
local function has_entry(id, entry) return get(id, 'entry') == entry end
for priority = 0, 2 do
  local work = stream(priority, subject)
  if redis.call('EXISTS', work) == 1 then
    local claimed = redis.call('XAUTOCLAIM', work, 'workers', 'reclaimer', idle, '0-0', 'COUNT', 100)
    for _, entry in ipairs(claimed[2]) do
      local id = entry[2] and entry[2][2]
      local is_readable, is_current = pcall(has_entry, id, entry[1])
      if is_readable and is_current then
        guarded(id, seconds, function() requeue(id, tonumber(get(id, 'attempts')), most, seconds) end)
      end
      redis.call('XACK', work, 'workers', entry[1])
      redis.call('XDEL', work, entry[1])
    end
  end
end
sweep(200)
return over
)lua";

const std::string_view kReport = R"lua(
local worker, progress, preview, kept = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local f = redis.call('HMGET', job_key(subject), 'state', 'worker', 'cancel', 'priority', 'model_hash',
                     'entry')
if f[1] ~= 'running' or f[2] ~= worker then return 0 end
redis.pcall('XCLAIM', stream(f[4] or '', f[5] or ''), 'workers', worker, 0, f[6] or '', 'JUSTID')
set(subject, 'progress', progress)
if preview ~= '' then redis.call('SET', P .. ':preview:' .. subject, preview, 'PX', kept) end
return f[3] == '1' and 0 or 1
)lua";

const std::string_view kFinish = R"lua(
local worker, state, outcome, kind, message = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local seconds, most = ARGV[8], tonumber(ARGV[9])
local f = redis.call('HMGET', job_key(subject), 'state', 'worker', 'cancel', 'started_ms')
if f[1] ~= 'running' and f[1] ~= 'queued' then
  local ok, job = pcall(final_job, subject)
  return {ok and job and job.state or '', ''}
end
if worker ~= '' and (f[1] ~= 'running' or f[2] ~= worker) then return {'', ''} end
if f[3] == '1' then state, outcome, kind, message = 'cancelled', '', '', '' end
if not guarded(subject, seconds, finish, subject, state, outcome, kind, message, seconds) then
  return {'', ''}
end
if state == 'completed' then
  local took = math.max(0, now - (f[4] or now))
  local mean = tonumber(redis.call('GET', P .. ':mean_ms') or took)
  redis.call('SET', P .. ':mean_ms', string.format('%.0f', 0.8 * mean + 0.2 * took))
end
local ended = {state, over[1] or ''}
if most > 0 then
  local surplus = redis.call('HLEN', P .. ':done') - most
  local first = surplus > 0 and redis.call('LRANGE', P .. ':ended', 0, surplus + 100) or {}
  for _, id in ipairs(first) do
    if #ended <= surplus + 1 and redis.call('HEXISTS', P .. ':done', id) == 1 then
      ended[#ended + 1] = hex(id)
    end
  end
end
return ended
)lua";

const std::string_view kAnnounce = R"lua(
local text, kept, model = ARGV[3], ARGV[4], ARGV[5]
redis.call('SET', P .. ':worker:' .. subject, text, 'EX', kept)
redis.call('ZADD', P .. ':workers', now, subject)
redis.call('HSET', P .. ':served', model, now)
-- Who works for the model, how fast each is, and all of them together.
local fleet, pace, total = P .. ':fleet:' .. model, P .. ':pace:' .. model, P .. ':total:' .. model
local function set_pace(name, speed)
  local before = tonumber(redis.call('HGET', pace, name) or 0)
  if speed == before then return end
  redis.call('INCRBY', total, string.format('%.0f', speed - before))
  if speed > 0 then redis.call('HSET', pace, name, speed) else redis.call('HDEL', pace, name) end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', fleet, '-inf', now - kept * 1000, 'LIMIT', 0, 10)) do
  set_pace(name, 0)
  redis.call('ZREM', fleet, name)
end
redis.call('ZADD', fleet, now, subject)
set_pace(subject, tonumber(ARGV[6]))
return 0
)lua";

const std::string_view kWorkers = R"lua(
redis.call('ZREMRANGEBYSCORE', P .. ':workers', '-inf', now - ARGV[3])
local found = {}
local names = redis.call('ZRANGE', P .. ':workers', 0, -1, 'WITHSCORES')
for i = 1, #names, 2 do
  local text = redis.pcall('GET', P .. ':worker:' .. names[i])
  if type(text) == 'string' then
    for _, value in ipairs({names[i], names[i + 1], text}) do found[#found + 1] = value end
  end
end
return found
)lua";

const std::string_view kFailOrphans = R"lua(
local patience, seconds = tonumber(ARGV[3]), ARGV[4]
local message = 'no worker has had the model of this job for ' .. math.floor(patience / 1000) .. ' s'
local served = redis.call('HGETALL', P .. ':served')
local function fail_first(turns)
  local owner = redis.call('ZRANGE', turns, 0, 0)[1]
  if not owner then return false end
  local id = redis.call('ZRANGE', turns .. ':' .. owner, 0, 0)[1]
  if id then guarded(id, seconds, finish, id, 'failed', '', 'no_worker', message, seconds) end
  -- Whatever was found there, it is gone.
  if id then redis.call('ZREM', turns .. ':' .. owner, id) end
  if redis.call('ZCARD', turns .. ':' .. owner) == 0 then redis.call('ZREM', turns, owner) end
  return true
end
local left = 100
for i = 1, #served, 2 do
  if now - tonumber(served[i + 1]) > patience then
    local is_empty = true
    for priority = 2, 0, -1 do
      while left > 0 and fail_first(lane(priority, served[i])) do left = left - 1 end
      if redis.call('EXISTS', lane(priority, served[i])) == 1 then is_empty = false end
    end
    if is_empty then redis.call('HDEL', P .. ':served', served[i]) end
  end
end
return over
)lua";

const std::string_view kRelease = R"lua(
local f = redis.call('HMGET', job_key(subject), 'state', 'worker', 'attempts')
if f[1] ~= 'running' or f[2] ~= ARGV[3] then return {} end
guarded(subject, ARGV[4], function() requeue(subject, tonumber(f[3]) - 1, 1000, ARGV[4]) end)
return over
)lua";

}  // namespace ernie_image::redis_scripts
