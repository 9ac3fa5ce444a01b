-- Looks at a hundred jobs picked at random: forgets those that are no longer kept, and queues again those that
-- say they are queued, begun or next in line and are not, because somebody else's tool has taken them away.
-- Answers the IDs of the latter. ARGV: time

local mended = {}
for _, id in ipairs(redis.call('ZRANDMEMBER', '%INDEX%', 100)) do
  if not is_job(id) then
    redis.call('ZREM', '%INDEX%', id)
  elseif get(id, 'status') == 'queued' then
    local list = queue_key(get(id, 'origin'))
    if redis.call('LLEN', list) <= 10000 and not redis.call('LPOS', list, id) then
      push(id, true, 'mended')
      table.insert(mended, id)
    end
  elseif get(id, 'status') == 'started' then
    if not redis.call('ZSCORE', registry('wip', get(id, 'origin')), id .. ':' .. get(id, 'token')) then
      push(id, true, 'mended')
      table.insert(mended, id)
    end
  elseif get(id, 'status') == 'scheduled' then
    if not redis.call('ZSCORE', registry('scheduled', get(id, 'origin')), id) then
      schedule(id, moment(get(id, 'due')))
      table.insert(mended, id)
    end
  elseif get(id, 'status') == 'deferred' and whole(get(id, 'parents')) > 0 then
    local waits = false
    for parent in string.gmatch(get(id, 'after'), '[^,]+') do
      waits = waits or (is_job(parent) and not has_ended(parent))
    end
    if not waits then -- one of them was deleted, and nobody will ever tell how it ended
      finish(id, 'failed', nil, (string.gsub(%DEPENDENCY%, '{parent}', 'it is no longer kept')))
    end
  elseif get(id, 'status') == 'deferred' then
    local holder = redis.call('GET', holder_key(get(id, 'exclusive')))
    if not holder or not is_job(holder) or has_ended(holder) then
      leave(id)
      push(id, true, 'mended')
      table.insert(mended, id)
    end
  end
end
return mended
