-- scan: which holders are silent for longer than their TTL?
-- Nobody could beat while Redis was away, so after a gap in the scans every holder gets one whole TTL to speak up.
-- ARGV 1 TTL in ms  2 longest gap between scans that is no outage, in ms  3 '1' when the caller saw an outage itself
-- Reply {'grace', ms} or {'scan', holder...}
even_when_full()
local now = now_ms()
local last = redis.call('GET', 'rl:pulse')
redis.call('SET', 'rl:pulse', now)
if ARGV[3] == '1' or (last and now - last > tonumber(ARGV[2])) then
  redis.call('SET', 'rl:grace', now + ARGV[1], 'PX', ARGV[1])
end
local grace = redis.call('GET', 'rl:grace')
if grace and tonumber(grace) > now then return {'grace', grace - now} end
return {'scan', unpack(redis.call('ZRANGEBYSCORE', INDEX, '-inf', now, 'LIMIT', 0, 100))}
