-- Publishes events, keeps the snapshot and moves the cursor: all of it, or nothing where somebody else leads.
-- KEYS: state, seen, stream, containers, images, engines
-- ARGV: epoch, events that the stream keeps, milliseconds from before which no event is remembered, engine, its state,
--       engine_id, time_nano, fingerprint,
--       n, then n times (mark, milliseconds, event, m, m times (sample of the tally, how far to raise it)), n, then n times (container, its state or empty),
--       n or -1 for unchanged, then n times (image, its state)
-- Returns how many events were new, or -1.
local state, seen, stream = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', state, 'epoch') ~= ARGV[1] then return -1 end
local at = 9
local function take(n)
  local taken = {}
  for i = 1, n do taken[i] = ARGV[at + i - 1] end
  at = at + n
  return unpack(taken)
end
local published = 0
for _ = 1, tonumber(take(1)) do
  local mark, ms, event, samples = take(4)
  local is_new = redis.call('ZADD', seen, 'NX', ms, mark) == 1
  if is_new then
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'e', event)
    published = published + 1
  else
    count('dockbus_events_doubled_total{engine="' .. label(ARGV[4]) .. '"}', 1)
  end
  for _ = 1, tonumber(samples) do
    local sample, by = take(2)
    if is_new then count(sample, tonumber(by)) end
  end
end
for _ = 1, tonumber(take(1)) do
  local id, facts = take(2)
  if facts == '' then redis.call('HDEL', KEYS[4], id) else redis.call('HSET', KEYS[4], id, facts) end
end
local images = tonumber(take(1))
if images >= 0 then
  redis.call('DEL', KEYS[5])
  for _ = 1, images do redis.call('HSET', KEYS[5], take(2)) end
end
redis.call('HSET', KEYS[6], ARGV[4], ARGV[5])
redis.call('HSET', state, 'engine_id', ARGV[6], 'time_nano', ARGV[7], 'fingerprint', ARGV[8])
redis.call('ZREMRANGEBYSCORE', seen, '-inf', '(' .. ARGV[3])
return published
