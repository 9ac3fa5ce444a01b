-- Gives an attempt one of so many permits. Answers 1, 0 where the attempt is superseded, or the ID of a job that has one.
-- A permit whose attempt's lease has run out is nobody's. ARGV: time, ID, token, name, how many

local id, token, key = ARGV[2], ARGV[3], 'dockbus:permits:' .. ARGV[4]
if not is_current(id, token) then return 0 end
local held, holder = 0, ''
local pairs_ = redis.call('HGETALL', key)
for i = 1, #pairs_, 2 do
  local other = pairs_[i]
  if other ~= id and is_current(other, pairs_[i + 1]) then
    held, holder = held + 1, other
  else
    redis.call('HDEL', key, other)
  end
end
if held >= tonumber(ARGV[5]) then return holder end
redis.call('HSET', key, id, token)
return 1
