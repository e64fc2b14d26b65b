// What all scripts of redis_scripts.cpp have in common.
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

}  // namespace ernie_image::redis_scripts
