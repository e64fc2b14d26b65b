#include "jobs/redis_scripts.h"

namespace ernie_image::redis_scripts {

const std::string_view kPrelude = R"lua(
local P, subject = ARGV[1], ARGV[2]
-- Of Redis, for everybody: clocks of gateways and workers may differ, and jump.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local states = {'queued', 'running', 'completed', 'failed', 'cancelled'}

-- An id's bytes and its text; a list needs thousands of digits, of which each is worked out once.
local byte_of, digits_of = {}, {}
local function raw(text)
  return (text:gsub('%x%x', function(digits)
    local byte = byte_of[digits]
    if not byte then
      byte = string.char(tonumber(digits, 16))
      byte_of[digits] = byte
    end
    return byte
  end))
end
local function hex(bytes)
  return (bytes:gsub('.', function(byte)
    local digits = digits_of[byte]
    if not digits then
      digits = string.format('%02x', byte:byte())
      digits_of[byte] = digits
    end
    return digits
  end))
end
local function job_key(id) return P .. ':job:' .. id end
local function index(owner_hash, state) return P .. ':index:' .. owner_hash .. ':' .. state end
local function get(id, field) return redis.call('HGET', job_key(id), field) end
-- A user who may not publish is no reason to fail: those who wait look for themselves then.
local function tell(channel, of_what) redis.pcall('PUBLISH', P .. ':' .. channel, of_what) end
local function set(id, ...)
  redis.call('HSET', job_key(id), ...)
  redis.call('HINCRBY', job_key(id), 'version', 1)
  tell('changed', id)
end
local function lane(priority, model) return P .. ':lane:' .. priority .. ':' .. model end
local function stream(priority, model) return P .. ':work:' .. priority .. ':' .. model end

local function set_state(id, state)
  local f = redis.call('HMGET', job_key(id), 'owner_hash', 'sequence', 'state')
  if f[3] and f[3] ~= '' then redis.call('ZREM', index(f[1], f[3]), raw(id)) end
  redis.call('ZADD', index(f[1], state), f[2], raw(id))
  set(id, 'state', state)
end

-- Final jobs are one packed value each, without a key of their own: that is a fifth of the memory.
local packed_fields = {'owner', 'request', 'state', 'version', 'created_ms', 'started_ms',
                       'finished_ms', 'attempts', 'cancel', 'outcome', 'failure_kind',
                       'failure_message', 'key', 'sequence', 'expires_ms'}
local numeric = {version = 1, created_ms = 1, started_ms = 1, finished_ms = 1, attempts = 1,
                 cancel = 1, sequence = 1, expires_ms = 1}

local function pack(id, more)
  local values = redis.call('HMGET', job_key(id), unpack(packed_fields))
  for i, name in ipairs(packed_fields) do
    local value = more[name] or values[i] or ''
    values[i] = numeric[name] and (tonumber(value) or 0) or tostring(value)
  end
  return cmsgpack.pack(values)
end

-- By name; nil without one, or if its time is over. Throws if it is damaged.
local function final_job(id)
  local record = redis.call('HGET', P .. ':done', raw(id))
  if not record then return nil end
  local values, job = cmsgpack.unpack(record), {}
  if type(values) ~= 'table' or #values ~= #packed_fields then error('damaged') end
  for i, name in ipairs(packed_fields) do
    if type(values[i]) ~= (numeric[name] and 'number' or 'string') then error('damaged') end
    job[name] = values[i]
  end
  if job.expires_ms <= now then return nil end
  return job
end

local function forget(id, job)
  redis.call('HDEL', P .. ':done', raw(id))
  redis.call('ZREM', index(redis.sha1hex(job.owner), job.state), raw(id))
  -- Another job may have come with the key since this one's time was over.
  if job.key ~= '' and redis.call('HGET', P .. ':keys', raw(job.key)) == raw(id) then
    redis.call('HDEL', P .. ':keys', raw(job.key))
  end
end

-- Forgets final jobs whose time is over: the first in the list of those that have ended.
local function sweep(most)
  for _ = 1, most do
    local first = redis.call('LINDEX', P .. ':ended', 0)
    if not first then return end
    local record = redis.call('HGET', P .. ':done', first)
    if record then
      local ok, values = pcall(cmsgpack.unpack, record)
      if ok and type(values) == 'table' and type(values[15]) == 'number' then
        if values[15] > now then return end
        pcall(forget, hex(first), {owner = values[1], state = values[3], key = values[13]})
      end
    end
    redis.call('LPOP', P .. ':ended')
  end
end

local function place_of(id)
  local f = redis.call('HMGET', job_key(id), 'priority', 'model_hash', 'owner_hash')
  return lane(f[1], f[2]), f[3]
end

local function before_first(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  return (tonumber(first[2]) or 0) - 1
end

local function enqueue(id, first)
  local turns, owner = place_of(id)
  local jobs = turns .. ':' .. owner
  if first then
    redis.call('ZADD', jobs, before_first(jobs), id)
    redis.call('ZADD', turns, before_first(turns), owner)
  else
    local place = redis.call('INCR', P .. ':place')
    redis.call('ZADD', jobs, place, id)
    redis.call('ZADD', turns, 'NX', place, owner)
  end
  redis.call('ZADD', P .. ':waiting', get(id, 'sequence'), raw(id))
  tell('work', get(id, 'model_hash'))
end

local function dequeue(id)
  local turns, owner = place_of(id)
  local jobs = turns .. ':' .. owner
  if redis.call('ZREM', jobs, id) == 1 and redis.call('ZCARD', jobs) == 0 then
    redis.call('ZREM', turns, owner)
  end
  redis.call('ZREM', P .. ':waiting', raw(id))
end

local function acknowledge(id)
  local f = redis.call('HMGET', job_key(id), 'priority', 'model_hash', 'entry')
  if f[3] and f[3] ~= '' then
    redis.pcall('XACK', stream(f[1], f[2]), 'workers', f[3])
    redis.pcall('XDEL', stream(f[1], f[2]), f[3])
  end
  redis.call('ZREM', P .. ':running', raw(id))
end

-- Jobs that this script ended, and that began with pictures, which are of no use any more.
local over = {}

local function finish(id, state, outcome, kind, message, seconds)
  -- First what frees memory: after that Redis lets a script go on though its memory is full.
  redis.call('DEL', P .. ':preview:' .. id)
  dequeue(id)
  acknowledge(id)
  set_state(id, state)
  if get(id, 'has_inputs') == '1' then over[#over + 1] = id end
  local record = pack(id, {outcome = outcome, failure_kind = kind, failure_message = message,
                           finished_ms = now, expires_ms = now + seconds * 1000})
  redis.call('DEL', job_key(id))
  redis.call('HSET', P .. ':done', raw(id), record)
  redis.call('RPUSH', P .. ':ended', raw(id))
  sweep(10)
end

local function requeue(id, attempts, most, seconds)
  redis.call('DEL', P .. ':preview:' .. id)
  set(id, 'attempts', attempts, 'progress', '')
  if get(id, 'cancel') == '1' then return finish(id, 'cancelled', '', '', '', seconds) end
  if attempts >= most then
    local message = 'every worker that began this job died or fell silent'
    redis.call('XADD', P .. ':dead', 'MAXLEN', '~', 1000, '*', 'job', id, 'reason', message)
    return finish(id, 'failed', '', 'worker_lost', message, seconds)
  end
  acknowledge(id)
  set(id, 'entry', '', 'worker', '')
  set_state(id, 'queued')
  enqueue(id, true)
end

-- A job that cannot be read is taken out of everything, and kept as it is for a while.
local function set_aside(id, seconds)
  local aside = P .. ':damaged:' .. id
  local owner = ''
  if redis.call('TYPE', job_key(id)).ok == 'hash' then
    owner = get(id, 'owner') or ''
    pcall(dequeue, id)
    pcall(acknowledge, id)
  end
  local is_known = redis.call('EXISTS', job_key(id)) == 1
  if is_known then redis.call('RENAME', job_key(id), aside) end
  local record = redis.call('HGET', P .. ':done', raw(id))
  if record then
    is_known = true
    local ok, values = pcall(cmsgpack.unpack, record)
    if ok and type(values) == 'table' and type(values[1]) == 'string' then owner = values[1] end
    redis.call('HDEL', P .. ':done', raw(id))
    redis.call('HSET', aside, 'record', record, 'owner', owner)
  end
  if not is_known then return end
  redis.call('EXPIRE', aside, seconds)
  for _, state in ipairs(states) do
    redis.call('ZREM', index(redis.sha1hex(owner), state), raw(id))
  end
  redis.call('ZREM', P .. ':waiting', raw(id))
  redis.call('ZREM', P .. ':running', raw(id))
  tell('changed', id)
end

-- Does something with a job, which is moved aside if that fails for what is known of it.
local function guarded(id, seconds, action, ...)
  local ok, problem = pcall(action, ...)
  if ok then return true end
  local text = type(problem) == 'table' and problem.err or tostring(problem)
  if string.find(text, 'OOM', 1, true) or string.find(text, 'NOPERM', 1, true) then error(problem) end
  set_aside(id, seconds)
  return false
end

-- How many jobs each owner has in a lane, in the order of their turns; read once for many jobs.
local lanes = {}
local function lengths(turns)
  local found = lanes[turns]
  if not found then
    found = {total = 0}
    for i, owner in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
      local length = redis.call('ZCARD', turns .. ':' .. owner)
      found[i] = {owner, length}
      found.total = found.total + length
    end
    lanes[turns] = found
  end
  return found
end

local function position_of(id)
  local turns, owner = place_of(id)
  -- The k-th job of an owner is taken in the k-th round of turns.
  local round = redis.call('ZRANK', turns .. ':' .. owner, id) or 0
  local position, model = 0, get(id, 'model_hash')
  for priority = 2, tonumber(get(id, 'priority')) + 1, -1 do
    position = position + lengths(lane(priority, model)).total
  end
  local earlier = 1
  for _, other in ipairs(lengths(turns)) do
    if other[1] == owner then earlier = 0 end
    position = position + math.min(other[2], round + earlier)
  end
  return position
end

-- Fields and values of a job; nil if there is none.
local function read_fields(id)
  local fields = redis.call('HGETALL', job_key(id))
  if #fields == 0 then
    local job = final_job(id)
    if not job then return nil end
    for name, value in pairs(job) do
      fields[#fields + 1] = name
      fields[#fields + 1] = tostring(value)
    end
  elseif get(id, 'state') == 'queued' then
    fields[#fields + 1] = 'position'
    fields[#fields + 1] = tostring(position_of(id))
  end
  return fields
end

local function fields_of(id)
  local aside = P .. ':damaged:' .. id
  if redis.call('EXISTS', aside) == 1 then
    local owner = redis.pcall('HGET', aside, 'owner')
    return {'set_aside', '1', 'owner', type(owner) == 'string' and owner or ''}
  end
  local ok, fields = pcall(read_fields, id)
  if not ok then return {'state', 'unreadable'} end
  return fields
end
)lua";

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
local newest = '+inf'
if before ~= '' then
  local ok, job = pcall(final_job, before)
  local sequence = ok and job and job.sequence or redis.pcall('HGET', job_key(before), 'sequence')
  if not sequence or type(sequence) == 'table' then return {} end
  newest = '(' .. tostring(sequence)
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
    local ids = redis.call('ZREVRANGEBYSCORE', set, newest, '-inf', 'WITHSCORES', 'LIMIT', 0,
                           limit - #jobs)
    for i = 1, #ids, 2 do found[#found + 1] = {tonumber(ids[i + 1]), ids[i], set} end
  end
  if #found == 0 then break end
  table.sort(found, function(a, b) return a[1] > b[1] end)
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
    newest = '(' .. tostring(found[i][1])
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
