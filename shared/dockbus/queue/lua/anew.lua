-- Sends jobs that had begun on an Engine from that Engine's queue back to the one that all Engines share. Stay: jobs whose
-- order names the Engine, and those that are about something on it. Answers the IDs of the sent. ARGV: time, queue
--
-- What has begun is put in front of a queue, and what has come due at its end: no more than those are looked at.

local queue, sent = ARGV[2], {}
local shared = string.match(queue, '^([^@]+)@')
for _, ends in ipairs({{0, 999}, {-1000, -1}}) do
  local jobs = redis.call('LRANGE', queue_key(queue), unpack(ends))
  for i = #jobs, 1, -1 do -- each is put before the one that it was before
    local id = jobs[i]
    local sound = is_job(id)
    local status, origin, anew = '', '', ''
    if sound then status, origin, anew = get_all(id, 'status', 'origin', 'anew') end
    if status == 'queued' and origin == queue and anew == '1' then
      leave(id)
      redis.call('HDEL', job_key(id), 'engine', 'anew')
      set(id, 'origin', shared)
      push(id, true, 'engine-lost')
      table.insert(sent, id)
    end
  end
end
return sent
