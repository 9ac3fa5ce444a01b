-- Whether a rule may act on an occasion. Atomic, and the same answer for the same cause, however often it is asked.
--
-- Answers one of: fire, fire JOB (after that one), counted N, cooling, open JOB, done JOB, limited, suspend N, suspended.
-- A script names its keys itself, so dockbus needs one Redis, not a cluster.
-- ARGV: now, rule, object, cause, time of the event, seconds to remember the answer, count, within, cooldown, limit, per,
--   then, dedup key, reuse, conflict, ID of the job that would be ordered

local raise = count
local now, rule, object, cause = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local at, memory = tonumber(ARGV[5]), tonumber(ARGV[6])
local count, within, cooldown = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local limit, per, after_limit = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12]
local dedup, reuse, conflict, job = ARGV[13], ARGV[14], ARGV[15], ARGV[16]
local SUSPENDED, ORDERING, REMEMBERED = 'dockbus:rules:suspended', 120, 7 * 86400

local function key(what, of) return 'dockbus:rules:' .. what .. ':' .. rule .. ':' .. of end
local function expire(name, seconds) redis.call('EXPIRE', name, math.ceil(seconds)) end
local function exact(number) return string.format('%.6f', number) end
local verdict = key('verdict', cause)
local function say(text)
  redis.call('SET', verdict, text, 'EX', memory)
  local word = string.match(text, '^%a+')
  if word ~= 'fire' then raise('dockbus_rules_total{rule="' .. label(rule) .. '",outcome="' .. word .. '"}', 1) end
  return text
end

local known = redis.call('GET', verdict)
if known then return known end

local mark = rule .. ':' .. object
if limit > 0 and after_limit == 'suspend' then
  local ends = tonumber(redis.call('ZSCORE', SUSPENDED, mark) or nil)
  if ends and ends > now then
    redis.call('ZADD', SUSPENDED, exact(now + per), mark)
    return say('suspended')
  end
end

-- Goes by the time of the events: those that waited for a dispatcher did not come at once.
if count > 0 then
  local hits = key('hits', object)
  redis.call('ZADD', hits, exact(at), cause)
  local newest = tonumber(redis.call('ZREVRANGE', hits, 0, 0, 'WITHSCORES')[2])
  redis.call('ZREMRANGEBYSCORE', hits, '-inf', exact(newest - within))
  local came = redis.call('ZCARD', hits)
  if came < count then
    expire(hits, within + memory)
    return say('counted ' .. came)
  end
  redis.call('DEL', hits)
end

local fires = key('fires', object)
if cooldown > 0 then
  local last = tonumber(redis.call('ZREVRANGE', fires, 0, 0, 'WITHSCORES')[2])
  if last and now - last < cooldown then return say('cooling') end
end

local follows = ''
if dedup ~= '' then
  local there = redis.call('HMGET', key('last', dedup), 'job', 'at')
  if there[1] then
    local record = redis.call('HMGET', '%JOB%' .. there[1], 'status', 'attempts')
    local status = record[1]
    local ended = status == 'finished' or status == 'failed' or status == 'canceled'
    -- One that is not there is either just being ordered, or has been forgotten.
    if not status and now - tonumber(there[2]) > ORDERING then ended = true end
    if not ended then
      local begun = status == 'started' or (tonumber(record[2] or nil) or 0) > 0
      if conflict == 'drop' or (conflict == 'requeue' and not begun) then
        return say('open ' .. there[1])
      end
      follows = ' ' .. there[1]
    elseif reuse == 'never' or (reuse == 'after-failure' and (not status or status == 'finished')) then
      return say('done ' .. there[1])
    end
  end
end

if limit > 0 then
  local fired = redis.call('ZCOUNT', fires, '(' .. exact(now - per), '+inf')
  if fired >= limit then
    if after_limit ~= 'suspend' then return say('limited') end
    redis.call('ZADD', SUSPENDED, exact(now + per), mark)
    return say('suspend ' .. fired)
  end
end

if limit > 0 or cooldown > 0 then
  redis.call('ZADD', fires, exact(now), cause)
  redis.call('ZREMRANGEBYRANK', fires, 0, -1 - math.max(limit, 1))
  expire(fires, math.max(cooldown, per) + 60)
end
if dedup ~= '' then
  local last = key('last', dedup)
  redis.call('HSET', last, 'job', job, 'at', exact(now))
  expire(last, REMEMBERED)
end
return say('fire' .. follows)
