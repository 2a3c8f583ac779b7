-- missing: queued records that no message stands for. Lists are first in, first out: a record older than the message
-- at the head of its list has been popped and not claimed. Costs the same for ten tasks in line as for a million.
-- ARGV 1 queue  2 how many at most
-- Reply the ids
local queue, head = ARGV[1], '+inf'
for i = -1, -20, -1 do
  local message = redis.call('LINDEX', queue, i)
  if not message then break end
  head = false
  local ok, decoded = pcall(cjson.decode, message)
  local id = ok and type(decoded) == 'table' and type(decoded.headers) == 'table' and decoded.headers.id
  head = id and redis.call('ZSCORE', queued_key(queue), id)
  if head then
    head = '(' .. head
    break
  end
end
if not head then return {} end
return redis.call('ZRANGEBYSCORE', queued_key(queue), '-inf', head, 'LIMIT', 0, ARGV[2])
