-- checkpoint: partial work, kept with the record. Fenced like commit.
-- ARGV 1 id  2 holder  3 incarnation  4 the checkpoint
-- Reply 'ok' | 'fenced'
local row = redis.call('HMGET', record_key(ARGV[1]), 'state', 'holder', 'incarnation')
if not owns(row, ARGV[2], ARGV[3]) then return 'fenced' end
redis.call('HSET', record_key(ARGV[1]), 'checkpoint', ARGV[4])
return 'ok'
