-- Queues scheduled jobs whose time has come; answers how many. ARGV: time, queue

local scheduled = registry('scheduled', ARGV[2])
local moved = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', scheduled, 0, now, 'LIMIT', 0, 500)) do
  if is_job(id) and get(id, 'status') == 'scheduled' then
    push(id, get(id, 'front') == '1')
    moved = moved + 1
  end
  redis.call('ZREM', scheduled, id)
end
return moved
