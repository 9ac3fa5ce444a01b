-- Ends an attempt, once however often the call is repeated. Answers 1, or 0 where it is superseded.
-- ARGV: time, ID, token, how, value, worker, seconds it took, whether the worker is idle now ('1'),
-- seconds before a retry or after a pass, then samples of the tally, each with how far to raise it.
--   How and value: succeeded RESULT · failed FAILURE · dead FAILURE · canceled · retry FAILURE · pass FAILURE · back

local id, token, how, value = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local worker = '%RQ%:worker:' .. ARGV[6]
if not is_current(id, token) then
  return is_job(id) and get(id, 'settled') == token .. ' ' .. how and 1 or 0
end
set(id, 'settled', token .. ' ' .. how)
if how == 'succeeded' then
  redis.call('HDEL', job_key(id), 'error')
  finish(id, how, value)
elseif how == 'failed' or how == 'dead' then
  finish(id, how, nil, value)
elseif how == 'canceled' or how == 'pass' and get(id, 'cancel') ~= '' and get(id, 'engine') == '' then
  finish(id, 'canceled')
else
  leave(id)
  if how == 'back' then
    set(id, 'attempts', math.max(whole(get(id, 'attempts')) - 1, 0))
    push(id, true, 'handed-back')
  else
    set(id, 'error', value)
    if how == 'pass' then
      -- This worker does not know such orders: for another one, and no attempt.
      local before = math.max(whole(get(id, 'attempts')) - 1, 0)
      set(id, 'attempts', before)
      if before == 0 then release(get(id, 'exclusive'), id) end
      schedule(id, string.format('%.6f', now + tonumber(ARGV[9])), {error = code(value), reason = 'passed-on'})
    elseif get(id, 'cancel') ~= '' then
      -- Asked for while the attempt was failing, or what has to be cleared away cannot be reached: soon again,
      -- as often as it takes.
      set(id, 'attempts', math.max(whole(get(id, 'attempts')) - 1, 0))
      schedule(id, string.format('%.6f', now + 1), {error = code(value), reason = 'cancel'})
    else
      schedule(id, string.format('%.6f', now + tonumber(ARGV[9])), {error = code(value)})
      tally_retry(id, 'failed')
    end
  end
end
for i = 10, #ARGV, 2 do count(ARGV[i], tonumber(ARGV[i + 1])) end
if redis.call('EXISTS', worker) == 1 then
  if how == 'succeeded' then redis.call('HINCRBY', worker, 'successful_job_count', 1)
  elseif how ~= 'back' and how ~= 'pass' and how ~= 'canceled' then redis.call('HINCRBY', worker, 'failed_job_count', 1) end
  redis.call('HINCRBYFLOAT', worker, 'total_working_time', ARGV[7])
  if ARGV[8] == '1' then redis.call('HSET', worker, 'state', 'idle') end
end
return 1
