-- push: a task exists from here on. Admission, the record and its message in one step.
-- ARGV 1-9  id, name, queue, envelope, signature, extra headers, idempotency key, resurrection cap, delay in ms
-- ARGV 10   admission limit (0: do not ask)   11 window in ms   12 width of a sub-bucket in ms
-- Reply     {'ok'|'again'|'rejected', milliseconds until a retry can succeed, error of the admission check}
local ADMISSION = 'rl:admission:celery-dispatch'

-- A sliding window of sub-buckets. A bucket counts until its end is a whole window old, so that no span of one
-- window ever holds more than the limit. Empty time costs nothing: only buckets that leave are visited.
local function admit(limit, window, width)
  local now = now_ms()
  local current, first = math.floor(now / width), math.floor((now - window) / width)
  local row = redis.call('HMGET', ADMISSION, 'total', 'oldest', 'newest', 'shape')
  local total, oldest, newest = tonumber(row[1] or 0), tonumber(row[2] or current), tonumber(row[3] or current)
  local shape = window .. '/' .. width
  if row[1] and (newest < first or row[4] ~= shape) then
    redis.call('DEL', ADMISSION)
    total, oldest = 0, current
  end
  while oldest < first do
    local gone = redis.call('HGET', ADMISSION, oldest)
    if gone then
      total = total - gone
      redis.call('HDEL', ADMISSION, oldest)
    end
    oldest = oldest + 1
  end
  if total >= limit then
    local next_out = oldest
    while redis.call('HEXISTS', ADMISSION, next_out) == 0 and next_out < current do next_out = next_out + 1 end
    redis.call('HSET', ADMISSION, 'total', total, 'oldest', next_out)
    return false, (next_out + 1) * width + window - now
  end
  if redis.call('HINCRBY', ADMISSION, current, 1) == 1 then
    redis.call('HSET', ADMISSION, 'oldest', oldest, 'newest', math.max(current, newest), 'shape', shape)
    redis.call('PEXPIRE', ADMISSION, window * 2)
  end
  redis.call('HSET', ADMISSION, 'total', total + 1)
  return true, 0
end

local id = ARGV[1]
if known(id) then return {'again', 0, ''} end
local failure = ''
if tonumber(ARGV[10]) > 0 then
  local ran, admitted, wait = pcall(admit, tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]))
  if not ran then
    failure = type(admitted) == 'table' and admitted.err or tostring(admitted)
  elseif not admitted then
    return {'rejected', wait, ''}
  end
end
create({unpack(ARGV, 1, 9)})
return {'ok', 0, failure}
