-- cancel: the task ends here, unrun or unfinished; whoever still runs it can no longer commit.
-- ARGV 1 id  2 result key  3 payload of the REVOKED state  4 its TTL in s
-- Reply {state it was in ('unknown' when there is none), holder or ''}
local id = ARGV[1]
local row = redis.call('HMGET', record_key(id), 'state', 'holder', 'lane', 'idem')
if not row[1] then return {'unknown', ''} end
redis.call('ZREM', queued_key(row[3]), id)
redis.call('ZREM', DELAYED, id)
release_idem(row[4], id)
publish_result(ARGV[2], ARGV[3], ARGV[4])
settle(id, row[2], 'cancelled')
return {row[1], row[2] or ''}
