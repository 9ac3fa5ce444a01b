-- Appends to a job's log, for its current attempt only, and once however often the call is repeated.
-- ARGV: time, ID, token, number of this batch, most lines, then field, value or field, value, n, stamp
--       for each line, each after how many of these it has

local id, batch = ARGV[2], ARGV[3] .. ':' .. ARGV[4]
if not is_current(id, ARGV[3]) then return 0 end
if get(id, 'logged') == batch then return 1 end
set(id, 'logged', batch)
local i = 6
while i <= #ARGV do
  local count = tonumber(ARGV[i])
  redis.call('XADD', log_key(id), 'MAXLEN', '~', ARGV[5], '*', unpack(ARGV, i + 1, i + count))
  i = i + 1 + count
end
-- Lines may be long: the older half goes as often as all of them take more than this.
if (redis.call('MEMORY', 'USAGE', log_key(id)) or 0) > 64 * 1024 * 1024 then
  redis.call('XTRIM', log_key(id), 'MAXLEN', math.floor(redis.call('XLEN', log_key(id)) / 2))
end
return 1
