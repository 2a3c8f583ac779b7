-- commit: the one outcome of a task. Refused unless this holder runs this very incarnation.
-- ARGV 1 id  2 holder  3 incarnation  4 'success'|'hit'|'ignored'  5 node  6 duration in ms
-- ARGV 7 result key  8 result payload ('' for none)  9 result TTL in s
-- ARGV 10 idempotency payload  11 idempotency TTL in s (0: none)   12... outbox (see prelude)
-- Reply 'ok' | 'again' | 'fenced'
local id, holder, inc, outcome = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local receipt = holder .. ' ' .. inc
local row = redis.call('HMGET', record_key(id), 'state', 'holder', 'incarnation', 'idem')
if not owns(row, holder, inc) then
  return redis.call('GET', receipt_key(id)) == receipt and 'again' or 'fenced'
end
even_when_full()
publish_result(ARGV[7], ARGV[8], ARGV[9])
if outcome == 'success' then
  count('success', ARGV[5])
  redis.call('LPUSH', 'rl:task_durations', ARGV[6])
  redis.call('LTRIM', 'rl:task_durations', 0, 999)
  if row[4] and tonumber(ARGV[11]) > 0 then redis.call('SET', 'rl:idem:' .. row[4], 'done\n' .. ARGV[10], 'EX', ARGV[11]) end
elseif outcome == 'ignored' then
  release_idem(row[4], id)
end
deliver(ARGV, 12)
settle(id, holder, receipt)
return 'ok'
