-- cancel: the task ends here, unrun or unfinished; whoever still runs it can no longer commit.
-- With followers its end is left to the worker that claims it next.
-- ARGV 1 id  2 result key  3 payload of the REVOKED state  4 its TTL in s
-- Reply {state it was in ('unknown' when there is none), holder or ''}
local id = ARGV[1]
local row = redis.call('HMGET', record_key(id), 'state', 'holder', 'lane', 'idem', 'name', 'extra', 'doomed')
if not row[1] then return {'unknown', ''} end
if row[7] then return {row[1], ''} end
redis.call('ZREM', queued_key(row[3]), id)
redis.call('ZREM', DELAYED, id)
release_idem(row[4], id)
if has_followers(row[6]) then
  if row[2] then redis.call('SREM', held_key(row[2]), id) end
  doom(id, row[5], row[6], 'TaskRevokedError')
  return {row[1], row[2] or ''}
end
publish_result(ARGV[2], ARGV[3], ARGV[4])
settle(id, row[2], 'cancelled')
return {row[1], row[2] or ''}
