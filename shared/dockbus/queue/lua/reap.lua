-- Returns jobs whose worker gives no sign of life to their queue; answers their IDs. Drops what is
-- past its time from RQ's registries of ended jobs. ARGV: time, queue

local queue = ARGV[2]
local wip = registry('wip', queue)
local orphans = {}
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', wip, 0, now, 'LIMIT', 0, 500)) do
  local id, token = string.match(entry, '^(.*):([^:]*)$')
  if id and is_current(id, token) then
    push(id, true, 'worker-lost')
    table.insert(orphans, id)
  end
  redis.call('ZREM', wip, entry)
end
for _, name in ipairs({'finished', 'failed', 'canceled'}) do
  redis.call('ZREMRANGEBYSCORE', registry(name, queue), 0, now)
end
return orphans
