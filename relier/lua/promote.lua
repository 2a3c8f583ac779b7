-- promote: delayed tasks whose time has come go into line.
-- ARGV 1 how many at most
-- Reply {how many were promoted, ms until the next one is due or -1}
local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now_ms(), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZREM', DELAYED, id)
  local row = redis.call('HMGET', record_key(id), 'state', 'name', 'queue', 'extra')
  if row[1] == 'delayed' then requeue(id, row[2], row[3], row[4]) end
end
local head = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
return {#due, head[2] and math.max(0, head[2] - now_ms()) or -1}
