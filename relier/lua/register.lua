-- register: a worker says that it is there and which queues it consumes.
-- ARGV 1 node  2 entry (JSON)  3... queues
-- Reply ms until the next delayed task is due (0: now), or -1
redis.call('HSET', 'rl:workers', ARGV[1], ARGV[2])
redis.call('SADD', 'rl:queues', unpack(ARGV, 3))
local head = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
return head[2] and math.max(0, head[2] - now_ms()) or -1
