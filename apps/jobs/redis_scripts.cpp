#include "jobs/redis_scripts.h"

namespace ernie_image::redis_scripts {

const std::string_view kPrelude = R"lua(
local P, subject = ARGV[1], ARGV[2]
-- Of Redis, for everybody: clocks of gateways and workers may differ, and jump.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function job_key(id) return P .. ':job:' .. id end
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

local function place_of(id)
  local f = redis.call('HMGET', job_key(id), 'priority', 'model_hash', 'owner_hash')
  return lane(f[1], f[2]), f[3]
end

local function enqueue(id, first)
  local turns, owner = place_of(id)
  local jobs = turns .. ':' .. owner
  local push = first and 'LPUSH' or 'RPUSH'
  if redis.call('LLEN', jobs) == 0 then
    redis.call(push, turns, owner)
  elseif first then
    redis.call('LREM', turns, 1, owner)
    redis.call('LPUSH', turns, owner)
  end
  redis.call(push, jobs, id)
  redis.call('SADD', P .. ':waiting', id)
  tell('work', get(id, 'model_hash'))
end

local function dequeue(id)
  local turns, owner = place_of(id)
  local jobs = turns .. ':' .. owner
  if redis.call('LREM', jobs, 1, id) == 1 and redis.call('LLEN', jobs) == 0 then
    redis.call('LREM', turns, 1, owner)
  end
  redis.call('SREM', P .. ':waiting', id)
end

local function acknowledge(id)
  local f = redis.call('HMGET', job_key(id), 'priority', 'model_hash', 'entry')
  if f[3] and f[3] ~= '' then
    redis.call('XACK', stream(f[1], f[2]), 'workers', f[3])
    redis.call('XDEL', stream(f[1], f[2]), f[3])
  end
  redis.call('SREM', P .. ':running', id)
end

local function finish(id, state, outcome, kind, message, seconds)
  dequeue(id)
  acknowledge(id)
  set(id, 'state', state, 'outcome', outcome, 'failure_kind', kind, 'failure_message', message,
      'finished_ms', now, 'entry', '', 'worker', '')
  redis.call('DEL', P .. ':preview:' .. id)
  redis.call('ZADD', P .. ':finished', now, id)
  redis.call('EXPIRE', job_key(id), seconds)
  local key = get(id, 'key')
  if key and key ~= '' then redis.call('EXPIRE', P .. ':key:' .. key, seconds) end
end

local function requeue(id, attempts, most, seconds)
  set(id, 'attempts', attempts, 'progress', '')
  redis.call('DEL', P .. ':preview:' .. id)
  if get(id, 'cancel') == '1' then return finish(id, 'cancelled', '', '', '', seconds) end
  if attempts >= most then
    local message = 'every worker that began this job died or fell silent'
    redis.call('XADD', P .. ':dead', 'MAXLEN', '~', 1000, '*', 'job', id, 'reason', message,
               'request', get(id, 'request'))
    return finish(id, 'failed', '', 'worker_lost', message, seconds)
  end
  acknowledge(id)
  set(id, 'state', 'queued', 'entry', '', 'worker', '')
  enqueue(id, true)
end
)lua";

const std::string_view kSubmit = R"lua(
local owner, owner_hash, key, request = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local model, priority, batch, most = ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
if redis.call('EXISTS', job_key(subject)) == 1 then return {subject} end
if key ~= '' then
  local known = redis.call('GET', P .. ':key:' .. key)
  if known and redis.call('EXISTS', job_key(known)) == 1 then return {known} end
end
if redis.call('SCARD', P .. ':waiting') >= most then
  return {'full', redis.call('GET', P .. ':mean_ms') or '0',
          tostring(redis.call('ZCOUNT', P .. ':workers', now - 30000, '+inf'))}
end
local sequence = redis.call('INCR', P .. ':sequence')
set(subject, 'owner', owner, 'owner_hash', owner_hash, 'key', key, 'request', request,
    'model_hash', model, 'priority', priority, 'batch', batch, 'state', 'queued', 'created_ms', now,
    'attempts', 0)
redis.call('ZADD', P .. ':jobs', sequence, subject)
redis.call('ZADD', P .. ':owned:' .. owner_hash, sequence, subject)
if key ~= '' then redis.call('SET', P .. ':key:' .. key, subject) end
enqueue(subject, false)
return {subject}
)lua";

const std::string_view kFind = R"lua(
local fields = redis.call('HGETALL', job_key(subject))
if #fields == 0 then return fields end
local position = -1
if get(subject, 'state') == 'queued' then
  local turns, owner = place_of(subject)
  local round = redis.call('LPOS', turns .. ':' .. owner, subject) or 0
  position = 0
  local model = get(subject, 'model_hash')
  for priority = 2, tonumber(get(subject, 'priority')) + 1, -1 do
    local above = lane(priority, model)
    for _, other in ipairs(redis.call('LRANGE', above, 0, -1)) do
      position = position + redis.call('LLEN', above .. ':' .. other)
    end
  end
  local earlier = 1
  for _, other in ipairs(redis.call('LRANGE', turns, 0, -1)) do
    if other == owner then earlier = 0 end
    position = position + math.min(redis.call('LLEN', turns .. ':' .. other), round + earlier)
  end
end
fields[#fields + 1] = 'position'
fields[#fields + 1] = tostring(position)
return fields
)lua";

const std::string_view kCancel = R"lua(
local state = get(subject, 'state')
if state == 'queued' then
  set(subject, 'cancel', 1)
  finish(subject, 'cancelled', '', '', '', ARGV[3])
  return 1
end
if state ~= 'running' then return 0 end
set(subject, 'cancel', 1)
return 1
)lua";

const std::string_view kRemove = R"lua(
local state = get(subject, 'state')
if not state or state == 'queued' or state == 'running' then return 0 end
local f = redis.call('HMGET', job_key(subject), 'owner_hash', 'key')
redis.call('ZREM', P .. ':jobs', subject)
redis.call('ZREM', P .. ':owned:' .. f[1], subject)
redis.call('ZREM', P .. ':finished', subject)
if f[2] and f[2] ~= '' then redis.call('DEL', P .. ':key:' .. f[2]) end
redis.call('DEL', job_key(subject))
tell('changed', subject)
return 1
)lua";

const std::string_view kClaim = R"lua(
local worker, most = ARGV[3], tonumber(ARGV[4])
local function next_job()
  for priority = 2, 0, -1 do
    local turns = lane(priority, subject)
    local owner = redis.call('LINDEX', turns, 0)
    if owner then return redis.call('LINDEX', turns .. ':' .. owner, 0), turns, owner, priority end
  end
end
local function begin(id, priority)
  local work = stream(priority, subject)
  redis.pcall('XGROUP', 'CREATE', work, 'workers', '0', 'MKSTREAM')
  local entry = redis.call('XADD', work, '*', 'job', id)
  redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', 1, 'STREAMS', work, '>')
  redis.call('HINCRBY', job_key(id), 'attempts', 1)
  set(id, 'state', 'running', 'worker', worker, 'entry', entry, 'started_ms', now)
  redis.call('SADD', P .. ':running', id)
end
local ids, batch = {}, nil
while #ids < most do
  local id, turns, owner, priority = next_job()
  if not id or (batch and get(id, 'batch') ~= batch) then break end
  batch = get(id, 'batch')
  redis.call('LPOP', turns .. ':' .. owner)
  redis.call('LPOP', turns)
  if redis.call('LLEN', turns .. ':' .. owner) > 0 then redis.call('RPUSH', turns, owner) end
  redis.call('SREM', P .. ':waiting', id)
  if redis.call('EXISTS', job_key(id)) == 1 then
    begin(id, priority)
    ids[#ids + 1] = id
  end
end
return ids
)lua";

const std::string_view kReclaim = R"lua(
local idle, most, seconds = ARGV[3], tonumber(ARGV[4]), ARGV[5]
for priority = 0, 2 do
  local work = stream(priority, subject)
  if redis.call('EXISTS', work) == 1 then
    local claimed = redis.call('XAUTOCLAIM', work, 'workers', 'reclaimer', idle, '0-0', 'COUNT', 100)
    for _, entry in ipairs(claimed[2]) do
      local id = entry[2] and entry[2][2]
      if id and get(id, 'entry') == entry[1] then
        requeue(id, tonumber(get(id, 'attempts')), most, seconds)
      else
        redis.call('XACK', work, 'workers', entry[1])
        redis.call('XDEL', work, entry[1])
      end
    end
  end
end
return 0
)lua";

const std::string_view kReport = R"lua(
local worker, progress, preview, kept = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local f = redis.call('HMGET', job_key(subject), 'state', 'worker', 'cancel', 'priority', 'model_hash',
                     'entry')
if f[1] ~= 'running' or f[2] ~= worker then return 0 end
redis.call('XCLAIM', stream(f[4], f[5]), 'workers', worker, 0, f[6], 'JUSTID')
set(subject, 'progress', progress)
if preview ~= '' then redis.call('SET', P .. ':preview:' .. subject, preview, 'PX', kept) end
return f[3] == '1' and 0 or 1
)lua";

const std::string_view kFinish = R"lua(
local worker, state, outcome, kind, message = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local seconds, most = ARGV[8], tonumber(ARGV[9])
local f = redis.call('HMGET', job_key(subject), 'state', 'worker', 'cancel', 'started_ms')
if f[1] ~= 'running' and f[1] ~= 'queued' then return {f[1] or ''} end
if worker ~= '' and (f[1] ~= 'running' or f[2] ~= worker) then return {''} end
if f[3] == '1' then state, outcome, kind, message = 'cancelled', '', '', '' end
finish(subject, state, outcome, kind, message, seconds)
if state == 'completed' then
  local took = math.max(0, now - (f[4] or now))
  local mean = tonumber(redis.call('GET', P .. ':mean_ms') or took)
  redis.call('SET', P .. ':mean_ms', string.format('%.0f', 0.8 * mean + 0.2 * took))
end
local ended = {state}
if most > 0 then
  for _, id in ipairs(redis.call('ZRANGE', P .. ':finished', 0, -most - 1)) do ended[#ended + 1] = id end
end
return ended
)lua";

const std::string_view kAnnounce = R"lua(
redis.call('SET', P .. ':worker:' .. subject, ARGV[3], 'EX', ARGV[4])
redis.call('ZADD', P .. ':workers', now, subject)
return 0
)lua";

const std::string_view kWorkers = R"lua(
redis.call('ZREMRANGEBYSCORE', P .. ':workers', '-inf', now - ARGV[3])
local found = {}
local names = redis.call('ZRANGE', P .. ':workers', 0, -1, 'WITHSCORES')
for i = 1, #names, 2 do
  local text = redis.call('GET', P .. ':worker:' .. names[i])
  if text then
    for _, value in ipairs({names[i], names[i + 1], text}) do found[#found + 1] = value end
  end
end
return found
)lua";

const std::string_view kRelease = R"lua(
local f = redis.call('HMGET', job_key(subject), 'state', 'worker', 'attempts')
if f[1] ~= 'running' or f[2] ~= ARGV[3] then return 0 end
requeue(subject, tonumber(f[3]) - 1, 1000, ARGV[4])
return 1
)lua";

}  // namespace ernie_image::redis_scripts
