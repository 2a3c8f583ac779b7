-- unlock: the owner of a lock commits its result, or gives the key back.
-- ARGV 1 key  2 owner  3 'commit'|'release'|'renew'  4 result  5 TTL in s (of the result; in ms for renew)
-- Reply 'ok' | 'again' | 'lost'
local key = 'rl:idem:' .. ARGV[1]
local entry = redis.call('GET', key)
if entry ~= 'busy\n' .. ARGV[2] then
  return (ARGV[3] == 'commit' and entry == 'done\n' .. ARGV[4]) and 'again' or 'lost'
end
if ARGV[3] == 'commit' then
  redis.call('SET', key, 'done\n' .. ARGV[4], 'EX', ARGV[5])
elseif ARGV[3] == 'renew' then
  redis.call('PEXPIRE', key, ARGV[5])
else
  redis.call('DEL', key)
end
return 'ok'
