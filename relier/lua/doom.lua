-- doom: a parent process ends a task that its child runs (Celery's hard time limit). Fenced by the holder.
-- With followers the task goes back into line to have its end reported; without, it is quarantined here and now.
-- ARGV 1 id  2 holder  3 reason  4 error  5 node  6 result key  7 result payload  8 result TTL in s
-- Reply 'ok' | 'again' | 'fenced'
local id, holder, reason = ARGV[1], ARGV[2], ARGV[3]
local row = load_record(id)
if row.state ~= 'running' or row.holder ~= holder then
  local done = redis.call('GET', receipt_key(id)) == holder .. ' doomed' or row.doomed == reason
  return done and 'again' or 'fenced'
end
even_when_full()
if has_followers(row.extra) then
  redis.call('SREM', held_key(holder), id)
  doom(id, row.name, row.extra, reason)
  return 'ok'
end
quarantine(id, row, reason, ARGV[4], '')
publish_result(ARGV[6], ARGV[7], ARGV[8])
count('failed', ARGV[5])
settle(id, holder, holder .. ' doomed')
return 'ok'
