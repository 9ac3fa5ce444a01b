-- What every script shares: where things are kept, and how a job enters and leaves a state.
--
-- A script is atomic: a job is never seen between two states, by nobody, whoever is killed when. The
-- scripts name their keys themselves, so dockbus needs one Redis, not a cluster. Words between percent signs are filled in by
-- dockbus.queue.scripts. ARGV[1] is always the caller's time, as RQ writes times; deadlines go by
-- Redis' own clock, which all workers share.

local NOW = ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function job_key(id) return '%RQ%:job:' .. id end
local function queue_key(queue) return '%RQ%:queue:' .. queue end
local function registry(name, queue) return '%RQ%:' .. name .. ':' .. queue end
local function log_key(id) return '%LOG%' .. id end
local function children_key(id) return 'dockbus:children:' .. id end
local function holder_key(name) return 'dockbus:exclusive:' .. name end
local function line_key(name) return 'dockbus:exclusive-line:' .. name end

local function get(id, field) return redis.call('HGET', job_key(id), field) or '' end
local function get_all(id, ...)
  local values = redis.call('HMGET', job_key(id), ...)
  for i, value in ipairs(values) do values[i] = value or '' end
  return unpack(values)
end
local function set(id, ...) redis.call('HSET', job_key(id), ...) end
-- What is not signed may hold anything: a whole number from 0 to a thousand million, or 0.
local function whole(text)
  local value = tonumber(text)
  return value and value >= 0 and value <= 1e9 and math.floor(value) or 0
end
local function moment(text)
  local value = tonumber(text)
  return value and value >= 0 and value <= 1e11 and value or 0
end
local function is_job(id) return redis.pcall('HEXISTS', job_key(id), 'data') == 1 end -- other types answer an error
local function has_ended(id)
  local status = get(id, 'status')
  return status == 'finished' or status == 'failed' or status == 'canceled'
end

-- Publishes io.dockbus.job.STATE with what is known of the job and what is new. Both are JSON objects, which
-- are joined as text: a job has several events, and this is the dearest part of each.
local function tell(id, state, more)
  local facts = get(id, 'facts')
  if more then
    local known = string.sub(facts, 1, -2)
    facts = (#known > 1 and known .. ',' or '{') .. string.sub(cjson.encode(more), 2)
  elseif facts == '' then
    facts = '{}'
  end
  redis.call('XADD', '%EVENTS%', 'MAXLEN', '~', %KEEP%, '*', 'e',
    '{"specversion":"1.0","id":"' .. id .. '-' .. state .. '-' .. clock[1] .. '.' .. clock[2]
    .. '","source":"/dockbus/jobs","type":"io.dockbus.job.' .. state .. '","subject":"' .. id
    .. '","time":"' .. NOW .. '","datacontenttype":"application/json","data":' .. facts .. '}')
end

-- What a job is counted by.
local function labels(id) return 'kind="' .. label(get(id, 'description')) .. '",queue="' .. label(get(id, 'origin')) .. '"' end
local function tally(name, id, more) count(name .. '{' .. labels(id) .. (more or '') .. '}', 1) end
local function tally_retry(id, reason)
  count('dockbus_job_retries_total{kind="' .. label(get(id, 'description')) .. '",reason="' .. reason .. '"}', 1)
end
local WAITS, RUNS = {%WAITS%}, {%RUNS%}
-- Counts how long a job has been what it is no longer.
local function tally_time(name, id, bounds)
  local since = moment(get(id, 'since'))
  if since > 0 then observe(name, labels(id), bounds, math.max(now - since, 0), id) end
end

-- Its queue: the one it was put on, or that of the Engine on which it has begun something.
local function home(engine, origin)
  if engine == '' or string.find(origin, '@', 1, true) then return origin end
  return origin .. '@' .. engine
end

local function push(id, front, reason)
  local engine, origin = get_all(id, 'engine', 'origin')
  local queue = home(engine, origin)
  set(id, 'status', 'queued', 'enqueued_at', NOW, 'since', now)
  if reason == 'worker-lost' then tally_retry(id, 'lost') elseif reason == 'handed-back' then tally_retry(id, reason) end
  if reason == 'worker-lost' or reason == 'mended' or reason == 'engine-lost' then count('dockbus_jobs_rescued_total{action="' .. reason .. '"}', 1) end
  if queue ~= origin then
    set(id, 'origin', queue)
    redis.call('SADD', '%RQ%:queues', '%RQ%:queue:' .. queue)
  end
  redis.call(front and 'LPUSH' or 'RPUSH', queue_key(queue), id)
  tell(id, 'queued', reason and {reason = reason})
end

local function schedule(id, due, more)
  set(id, 'status', 'scheduled', 'due', due)
  redis.call('ZADD', registry('scheduled', get(id, 'origin')), due, id)
  tell(id, 'scheduled', more)
end

local function defer(id, more)
  set(id, 'status', 'deferred')
  redis.call('ZADD', registry('deferred', get(id, 'origin')), now, id)
  tell(id, 'waiting', more)
end

-- Takes a job out of wherever it waits or runs. It begins with a write that a full Redis refuses (it does not
-- refuse to remove things), so that a transition is refused whole.
local function leave(id)
  set(id, 'last_heartbeat', NOW)
  local status, queue = get_all(id, 'status', 'origin')
  if status == 'queued' then
    redis.call('LREM', queue_key(queue), 1, id)
  elseif status == 'started' then
    redis.call('ZREM', registry('wip', queue), id .. ':' .. get(id, 'token'))
  elseif status == 'scheduled' then
    redis.call('ZREM', registry('scheduled', queue), id)
  elseif status == 'deferred' then
    redis.call('ZREM', registry('deferred', queue), id)
    redis.call('LREM', line_key(get(id, 'exclusive')), 1, id)
  end
end

-- Queues a job that waits for no other job any more.
local function ready(id)
  local due, front = get_all(id, 'due', 'front')
  if moment(due) > now then schedule(id, due) else push(id, front == '1') end
end

-- Whether this attempt is the job's own, and not one that was given up for dead.
local function is_current(id, token)
  local values = redis.pcall('HMGET', job_key(id), 'status', 'token')
  return values[1] == 'started' and values[2] == token
end

-- Hands what was one job's alone to the next in line for it.
local function release(name, id)
  if name == '' or redis.call('GET', holder_key(name)) ~= id then return end
  redis.call('DEL', holder_key(name))
  local heir = redis.call('LPOP', line_key(name))
  while heir and get(heir, 'status') ~= 'deferred' do heir = redis.call('LPOP', line_key(name)) end
  if heir then
    redis.call('SET', holder_key(name), heir)
    leave(heir)
    push(heir, true)
  end
end

-- Appends lines to a job's log, once however often the call is repeated. ARGV, from `first`: number of this batch, most
-- lines, then for each line how many of these it has: field, value or field, value, n, stamp.
local function write_log(id, token, first)
  local batch, i = token .. ':' .. ARGV[first], first + 2
  if i > #ARGV or get(id, 'logged') == batch then return end
  set(id, 'logged', batch)
  while i <= #ARGV do
    local count = tonumber(ARGV[i])
    redis.call('XADD', log_key(id), 'MAXLEN', '~', ARGV[first + 1], '*', unpack(ARGV, i + 1, i + count))
    i = i + 1 + count
  end
  -- Lines may be long: the older half goes as often as all of them take more than this.
  if (redis.call('MEMORY', 'USAGE', log_key(id)) or 0) > 64 * 1024 * 1024 then
    redis.call('XTRIM', log_key(id), 'MAXLEN', math.floor(redis.call('XLEN', log_key(id)) / 2))
  end
end

-- The end of a log, which then takes only the memory that it needs: Redis sets 4 KB aside for a stream.
local function close_log(id, ttl)
  local log = log_key(id)
  redis.call('XADD', log, '*', 'e', '1')
  if redis.call('XLEN', log) <= 100 then
    redis.call('RESTORE', log, ttl * 1000, redis.call('DUMP', log), 'REPLACE')
  else
    redis.call('EXPIRE', log, ttl)
  end
end

-- What a job that has ended needs no more.
local SPENT = {
  'after', 'after_failure', 'anew', 'cancel', 'due', 'exclusive', 'facts', 'failure_ttl', 'front', 'how',
  'last_heartbeat', 'logged', 'lost', 'outcome', 'parents', 'result_ttl', 'retries_left', 'since', 'timeout', 'traceparent',
  'tracestate', 'tries',
}
-- The code of a failure, which is JSON.
local function code(failure)
  local sound, value = pcall(cjson.decode, failure)
  return sound and type(value) == 'table' and type(value.code) == 'string' and value.code or ''
end

local ENDS = {succeeded = 'finished', failed = 'failed', dead = 'failed', canceled = 'canceled'}

-- Ends one job, lets those go on that waited for it, and adds to `ends` those that cannot.
local function finish_one(it, ends)
  local id, status = it.id, ENDS[it.state]
  local queue, name, kept =
    get_all(id, 'origin', 'exclusive', status == 'failed' and 'failure_ttl' or 'result_ttl')
  local ttl = whole(kept) > 0 and whole(kept) or 86400
  leave(id)
  if get(id, 'status') == 'started' then tally_time('dockbus_job_run_seconds', id, RUNS) end
  tally('dockbus_jobs_total', id, ',outcome="' .. it.state .. '"')
  set(id, 'status', status, 'ended_at', NOW)
  if it.value then set(id, 'value', it.value) end
  if it.error then set(id, 'error', it.error) end
  if it.state == 'dead' then set(id, 'dead', '1') end
  redis.call('EXPIRE', job_key(id), ttl)
  redis.call('ZADD', registry(status, queue), now + ttl, id)
  pcall(close_log, id, ttl)
  tell(id, it.state, it.error and {error = code(it.error)})
  release(name, id)
  redis.call('HDEL', job_key(id), unpack(SPENT))
  local children = redis.call('SMEMBERS', children_key(id))
  if #children > 0 then redis.call('DEL', children_key(id)) end
  for _, child in ipairs(children) do
    local policy = get(child, 'after_failure')
    if get(child, 'status') ~= 'deferred' then -- canceled meanwhile
    elseif it.state == 'succeeded' or policy == 'run' then
      local left = whole(get(child, 'parents')) - 1
      set(child, 'parents', left)
      if left <= 0 then
        leave(child)
        ready(child)
      end
    else
      table.insert(ends, {
        id = child,
        state = policy == 'skip' and 'canceled' or 'failed',
        error = (string.gsub(%DEPENDENCY%, '{parent}', id)),
      })
    end
  end
end

-- Ends a job, and with it the jobs that cannot go on without it. A list, not a recursion: a chain may be long.
local function finish(id, state, value, error)
  local ends = {{id = id, state = state, value = value, error = error}}
  while #ends > 0 do
    local it = table.remove(ends)
    if not has_ended(it.id) then finish_one(it, ends) end -- it may be a child of two that end here
  end
end
