-- Cancels a job: canceled where nothing of it is anywhere, asked where a worker has to stop it first.
-- Else missing or ended. ARGV: time, ID

local id = ARGV[2]
if not is_job(id) then return 'missing' end
if has_ended(id) then return 'ended' end
if get(id, 'status') ~= 'started' and get(id, 'engine') == '' then
  finish(id, 'canceled')
  return 'canceled'
end
set(id, 'cancel', '1')
if get(id, 'status') ~= 'started' then -- a container of it is somewhere: its Engine's worker clears it away
  leave(id)
  push(id, true, 'cancel')
end
return 'asked'
