-- Begins attempts at up to so many jobs of a queue; answers ID, token, record for each
-- (token empty: an entry that is no queued job was dropped).
-- ARGV: time, queue, Engine, worker, lease in seconds, how many

local queue, engine, worker, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local taken, begun = {}, false
while #taken < 3 * tonumber(ARGV[6]) do
  local id = redis.call('LINDEX', queue_key(queue), 0)
  if not id then break end
  local sound = is_job(id)
  if sound then set(id, 'last_heartbeat', NOW) end -- a full Redis refuses here, before the job is moved
  redis.call('LPOP', queue_key(queue))
  local status, name, begun_on, origin = '', '', '', ''
  if sound then status, name, begun_on, origin = get_all(id, 'status', 'exclusive', 'engine', 'origin') end
  local holder = name ~= '' and redis.call('GET', holder_key(name)) or false
  if status ~= 'queued' then
    -- No queued job: whoever pushed it, there is nothing to do.
    table.insert(taken, id)
    table.insert(taken, '')
    table.insert(taken, {})
  elseif begun_on ~= '' and begun_on ~= engine and home(begun_on, origin) ~= queue then
    push(id, true, 'begun-elsewhere')
  elseif holder and holder ~= id and is_job(holder) and not has_ended(holder) then
    defer(id, {exclusive = name})
    redis.call('RPUSH', line_key(name), id)
  else
    if name ~= '' then redis.call('SET', holder_key(name), id) end
    local attempts, tokens, limit = get_all(id, 'attempts', 'token', 'tries')
    local attempt, token, tries = whole(attempts) + 1, whole(tokens) + 1, whole(limit)
    if attempt > tries + %CLEARING% then
      finish(id, 'dead', nil, %LOST%)
    else
      -- Attempts that end by themselves stop at the limit: beyond it, workers have died of this job,
      -- and one more is to clear away what it left.
      if attempt > tries then set(id, 'lost', '1') end
      tally_time('dockbus_job_wait_seconds', id, WAITS)
      set(id, 'status', 'started', 'origin', queue, 'started_at', NOW, 'since', now, 'worker_name', worker,
        'attempts', attempt, 'token', token, 'retries_left', 1)
      redis.call('ZADD', registry('wip', queue), now + lease, id .. ':' .. token)
      tell(id, 'started', {attempt = attempt, worker = worker, engine = engine})
      begun = true
      table.insert(taken, id)
      table.insert(taken, tostring(token))
      table.insert(taken, redis.call('HGETALL', job_key(id)))
    end
  end
end
if begun and redis.call('EXISTS', '%RQ%:worker:' .. worker) == 1 then
  redis.call('HSET', '%RQ%:worker:' .. worker, 'state', 'busy')
end
return taken
