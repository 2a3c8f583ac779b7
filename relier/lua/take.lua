-- take: several messages in one round trip, in turn from each queue, for a worker that has room and found work before.
-- A claim check needs no bookkeeping: its record keeps the task. A plain Celery message is entered into kombu's
-- `unacked` in the same step, so that a worker that dies right here has not lost it.
-- ARGV 1 how many at most   2 unacked hash   3 unacked index   4 client time in s   5... lists, in order
-- Reply {list, message, list, message, ...}
local function keep(message)
  local decoded = cjson.decode(message)
  local tag, info = decoded.properties.delivery_tag, decoded.properties.delivery_info
  redis.call('ZADD', ARGV[3], ARGV[4], tag)
  redis.call('HSET', ARGV[2], tag,
    '[' .. message .. ',' .. cjson.encode(info.exchange) .. ',' .. cjson.encode(info.routing_key) .. ']')
end

local reply, room = {}, tonumber(ARGV[1])
local found = true
while found and room > 0 do
  found = false
  for i = 5, #ARGV do
    local message = room > 0 and redis.call('RPOP', ARGV[i])
    if message then
      if not string.find(message, '"rl":1', 1, true) then keep(message) end
      reply[#reply + 1], reply[#reply + 2] = ARGV[i], message
      room, found = room - 1, true
    end
  end
end
return reply
