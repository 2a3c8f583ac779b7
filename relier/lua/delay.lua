-- delay: a running task asks to run again later (retry). It keeps its id and its fence counter.
-- This start did not end in a death, so it does not count against the resurrection cap.
-- ARGV 1 id  2 holder  3 incarnation  4 delay in ms  5 envelope  6 signature  7 extra headers
-- ARGV 8 result key  9 payload of the RETRY state  10 its TTL in s   11 queue
-- Reply 'ok' | 'again' | 'fenced'
local id, holder, inc, delay = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key, receipt = record_key(id), ARGV[2] .. ' ' .. ARGV[3]
local row = redis.call('HMGET', key, 'state', 'holder', 'incarnation', 'name', 'attempts', 'delayed_by')
if not owns(row, holder, inc) then
  if row[6] == receipt then return 'again' end
  return redis.call('GET', receipt_key(id)) == receipt and 'again' or 'fenced'
end
redis.call('SREM', held_key(holder), id)  -- first, for a full Redis refuses only a first write
redis.call('HSET', key, 'envelope', ARGV[5], 'signature', ARGV[6], 'extra', ARGV[7], 'queue', ARGV[11],
  'attempts', tonumber(row[5]) - 1, 'delayed_by', receipt)
if delay > 0 then
  redis.call('HSET', key, 'state', 'delayed')
  redis.call('HDEL', key, 'holder', 'nonce', 'started_at')
  redis.call('ZADD', DELAYED, now_ms() + delay, id)
else
  requeue(id, row[4], ARGV[11], ARGV[7])
end
publish_result(ARGV[8], ARGV[9], ARGV[10])
return 'ok'
