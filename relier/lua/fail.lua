-- fail: the task ends in the DLQ with its reason. Fenced like commit.
-- ARGV 1 id  2 holder  3 incarnation  4 reason  5 error  6 traceback  7 node
-- ARGV 8 result key  9 result payload  10 result TTL in s   11... outbox (see prelude)
-- Reply 'ok' | 'again' | 'fenced'
local id, holder, inc = ARGV[1], ARGV[2], ARGV[3]
local receipt = holder .. ' ' .. inc
local row = redis.call('HMGET', record_key(id), 'state', 'holder', 'incarnation')
if not owns(row, holder, inc) then
  return redis.call('GET', receipt_key(id)) == receipt and 'again' or 'fenced'
end
even_when_full()
quarantine(id, load_record(id), ARGV[4], ARGV[5], ARGV[6])
publish_result(ARGV[8], ARGV[9], ARGV[10])
count('failed', ARGV[7])
deliver(ARGV, 11)
settle(id, holder, receipt)
return 'ok'
