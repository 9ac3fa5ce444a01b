-- Puts a new job on the bus, whole or not at all. Answers new, exists, other-bus, or no-parent ID.
-- ARGV: time, bus ID (empty: any), job ID, delay, parents (IDs, comma-separated), then field, value, …

local id, delay, parents = ARGV[3], tonumber(ARGV[4]), ARGV[5]
if ARGV[2] ~= '' and redis.call('GET', '%BUS%') ~= ARGV[2] then return 'other-bus' end
if is_job(id) then return 'exists' end
for parent in string.gmatch(parents, '[^,]+') do
  if not is_job(parent) then return 'no-parent ' .. parent end
end
-- First what a full Redis refuses: once a script has written anything, it is let write all.
redis.call('ZADD', '%INDEX%', now, id)
redis.call('DEL', job_key(id), log_key(id))
set(id, unpack(ARGV, 6))
tally('dockbus_jobs_enqueued_total', id)
redis.call('SADD', '%RQ%:queues', '%RQ%:queue:' .. get(id, 'origin'))
if delay > 0 then set(id, 'due', string.format('%.6f', now + delay)) end

local waiting, doomed = 0, nil
for parent in string.gmatch(parents, '[^,]+') do
  if not has_ended(parent) then
    if redis.call('SADD', children_key(parent), id) == 1 then waiting = waiting + 1 end
  elseif get(parent, 'status') ~= 'finished' and get(id, 'after_failure') ~= 'run' then
    doomed = parent
  end
end
if doomed then
  finish(id, get(id, 'after_failure') == 'skip' and 'canceled' or 'failed', nil,
    (string.gsub(%DEPENDENCY%, '{parent}', doomed)))
elseif waiting > 0 then
  set(id, 'parents', waiting)
  defer(id)
else
  ready(id)
end
return 'new'
