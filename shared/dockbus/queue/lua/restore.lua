-- Puts what was staged in place of the bus that is there, all at once; jobs that had begun are queued again. Answers how
-- many those are, however often it is asked, or not-empty, or incomplete. ARGV: time, prefix of what is staged, how many
-- keys that is, '1' to replace what is there.
--
-- Staged keys are called PREFIX EXPIRY ':' KEY, where EXPIRY is in milliseconds, or 0.

local stage, replace = ARGV[2], ARGV[4] == '1'
local done = redis.call('GET', stage .. 'done')
if done then return tonumber(done) end
local staged = redis.call('KEYS', stage .. '*')
if #staged ~= tonumber(ARGV[3]) then return 'incomplete' end

local there = {}
for _, pattern in ipairs({'dockbus:*', '%RQ%:*'}) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    if string.sub(key, 1, 18) ~= 'dockbus:restoring:' then table.insert(there, key) end
  end
end
local function unlink(keys)
  for i = 1, #keys, 1000 do redis.call('UNLINK', unpack(keys, i, math.min(i + 999, #keys))) end
end
if #there > 0 and not replace then
  unlink(staged)
  return 'not-empty'
end
unlink(there)
for _, key in ipairs(staged) do
  local expiry, name = string.match(key, '^(%d+):(.*)$', #stage + 1)
  redis.call('RENAME', key, name)
  if expiry == '0' then redis.call('PERSIST', name) else redis.call('PEXPIREAT', name, expiry) end
end

-- No attempt that lives somewhere, from before or after the backup, has a token of the restored job: it is not heard.
local again = 0
local function revive(id)
  if not is_job(id) or has_ended(id) then return end
  local status, token, attempts = get_all(id, 'status', 'token', 'attempts')
  if status == 'started' then leave(id) end
  set(id, 'token', whole(token) + 1000)
  if status == 'started' then
    set(id, 'attempts', math.max(whole(attempts) - 1, 0))
    push(id, true, 'restored')
    again = again + 1
  end
end
for _, id in ipairs(redis.call('ZRANGE', '%INDEX%', 0, -1)) do pcall(revive, id) end -- what is spoiled stays spoiled
redis.call('SET', stage .. 'done', again, 'EX', 600)
return again
