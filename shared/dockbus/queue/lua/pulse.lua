-- Renews the leases of running attempts; answers for each: go-on, cancel, lost or superseded.
-- ARGV: time, queue, lease in seconds, then ID, token, …

local answers = {}
for i = 4, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  if not is_current(id, token) then
    table.insert(answers, 'superseded')
  else
    redis.call('ZADD', registry('wip', ARGV[2]), now + tonumber(ARGV[3]), id .. ':' .. token)
    table.insert(answers, get(id, 'cancel') ~= '' and 'cancel' or get(id, 'lost') ~= '' and 'lost' or 'go-on')
  end
end
return answers
