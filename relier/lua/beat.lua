-- beat: a holder says that it lives, by the server's clock.
-- ARGV 1 holder  2 TTL in ms  3 '1' to count what it holds
-- Reply how many tasks the ledger says it holds, or -1 when not asked
even_when_full()
redis.call('SET', 'rl:hb:' .. ARGV[1], '1', 'PX', ARGV[2])
redis.call('ZADD', INDEX, now_ms() + ARGV[2], ARGV[1])
return ARGV[3] == '1' and redis.call('SCARD', held_key(ARGV[1])) or -1
