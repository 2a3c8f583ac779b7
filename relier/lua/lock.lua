-- lock: the explicit form of idempotency.
-- ARGV 1 key  2 owner (a task id or a token)  3 TTL of the claim in ms (0: as long as the task `owner` lives)
-- Reply {'claimed'} | {'done', cached result} | {'busy'}
local key = 'rl:idem:' .. ARGV[1]
local entry = redis.call('GET', key)
if entry and string.sub(entry, 1, 5) == 'done\n' then return {'done', string.sub(entry, 6)} end
local owner = entry and string.sub(entry, 6)
local expires = redis.call('PTTL', key)
if owner and owner ~= ARGV[2] and (expires > 0 or redis.call('EXISTS', record_key(owner)) == 1) then return {'busy'} end
if tonumber(ARGV[3]) > 0 then
  redis.call('SET', key, 'busy\n' .. ARGV[2], 'PX', ARGV[3])
else
  redis.call('SET', key, 'busy\n' .. ARGV[2])
end
return {'claimed'}
