-- handoff: a holder gives back what it cannot finish. No death, so nothing counts against the cap.
-- ARGV 1 holder  2 '1' to close the holder for good, or '=<incarnation>' to give back that one only
-- ARGV 3... task ids (none: everything it holds)
-- Reply the ids that are back in line
even_when_full()
local holder = ARGV[1]
local ids = #ARGV > 2 and {unpack(ARGV, 3)} or redis.call('SMEMBERS', held_key(holder))
if ARGV[2] == '1' then
  redis.call('SET', 'rl:dead:' .. holder, '1', 'EX', 3600)
  redis.call('ZREM', INDEX, holder)
  redis.call('DEL', 'rl:hb:' .. holder)
end
local given = {}
for _, id in ipairs(ids) do
  local row = redis.call('HMGET', record_key(id), 'state', 'holder', 'name', 'extra', 'attempts', 'incarnation')
  local fence = string.match(ARGV[2], '^=(.+)$')
  if row[1] == 'running' and row[2] == holder and fence and fence ~= row[6] then
    row[1] = 'newer'
  else
    redis.call('SREM', held_key(holder), id)
  end
  if row[1] == 'running' and row[2] == holder then
    redis.call('HSET', record_key(id), 'attempts', row[5] - 1)
    requeue(id, row[3], REQUEUE, row[4])
    given[#given + 1] = id
  end
end
return given
