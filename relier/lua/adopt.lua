-- adopt: gives a record to a task that came as a plain Celery message, so that its claim can protect it.
-- kombu's own copy of the message goes in the same step: from here on the record alone brings the task back.
-- ARGV 1-9 as for push (delay 0)   10 delivery tag   11 unacked hash   12 unacked index
-- Reply  1 when the record stands (new, or from an earlier try), 0 when the task is finished already
local id = ARGV[1]
redis.call('HDEL', ARGV[11], ARGV[10])
redis.call('ZREM', ARGV[12], ARGV[10])
if redis.call('EXISTS', receipt_key(id)) == 1 then return 0 end
if redis.call('EXISTS', record_key(id)) == 1 then return 1 end
redis.call('HSET', record_key(id), 'state', 'queued', 'name', ARGV[2], 'queue', ARGV[3], 'lane', ARGV[3],
  'envelope', ARGV[4], 'signature', ARGV[5], 'extra', ARGV[6])
if ARGV[7] ~= '' then redis.call('HSET', record_key(id), 'idem', ARGV[7]) end
if ARGV[8] ~= '' then redis.call('HSET', record_key(id), 'cap', ARGV[8]) end
redis.call('ZADD', queued_key(ARGV[3]), redis.call('INCR', 'rl:seq'), id)
return 1
