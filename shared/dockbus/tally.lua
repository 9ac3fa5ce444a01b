-- The bus's counters, as every script raises them: dockbus.tally says how they are kept.
-- `count` answers whether there was room; a tally that somebody has spoilt stops nothing.

local function count(sample, by)
  local value = redis.pcall('HINCRBYFLOAT', '%TALLY%', sample, by)
  if type(value) == 'string' and tonumber(value) == by and redis.call('HLEN', '%TALLY%') > %MOST% then
    redis.call('HDEL', '%TALLY%', sample) -- a new one, for which there is no room
    redis.call('HINCRBYFLOAT', '%TALLY%', '%LEFT_OUT%', 1)
    return false
  end
  return type(value) == 'string'
end

-- What is not signed may hold anything: as much of it as a label's value may be.
local function label(text) return (string.sub(string.gsub(text, '[^%w@._:/-]', '_'), 1, 100)) end

-- Adds a value to a histogram; `id` is that of the job it is of.
local function observe(name, labels, bounds, value, id)
  local le = '+Inf'
  for _, bound in ipairs(bounds) do
    if value <= tonumber(bound) then
      le = bound
      break
    end
  end
  local bucket = name .. '_bucket{' .. labels .. ',le="' .. le .. '"}'
  local is_kept = count(bucket, 1)
  count(name .. '_sum{' .. labels .. '}', value)
  if id and is_kept then redis.pcall('HSET', '%EXEMPLARS%', bucket, id .. ' ' .. value .. ' ' .. redis.call('TIME')[1]) end
end
