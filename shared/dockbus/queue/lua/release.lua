-- Gives a permit back. ARGV: time, ID, token, name

local key = 'dockbus:permits:' .. ARGV[4]
if redis.call('HGET', key, ARGV[2]) == ARGV[3] then redis.call('HDEL', key, ARGV[2]) end
return 1
