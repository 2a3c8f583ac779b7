-- claim: a worker may run a task only by this step. queued -> running under a new incarnation, the task's fence.
-- ARGV 1 id  2 holder  3 nonce of this call  4 heartbeat TTL in ms
-- ARGV 5 result key and 6 payload of the STARTED state ('' for none)  7 its TTL in s
-- Reply {'run', incarnation, attempts, envelope, signature, checkpoint, queue, extra, idempotency key}
--       {'hit', ... and the cached result}: another run has committed this operation
--       {'doomed', ... and the reason}: its end is to be reported
--       {'in_flight', ms}: parked until then   {'gone'}: nothing to run   {'dead'}: this holder was declared dead
local id, holder, nonce = ARGV[1], ARGV[2], ARGV[3]
local key = record_key(id)
local row = redis.call('HMGET', key, 'state', 'holder', 'nonce', 'incarnation', 'attempts', 'envelope', 'signature',
  'checkpoint', 'queue', 'extra', 'idem', 'lane', 'parked', 'doomed')
local function ticket(verdict, incarnation, attempts, cached)
  return {verdict, incarnation, attempts, row[6], row[7], row[8] or '', row[9], row[10] or '', row[11] or '', cached or ''}
end

if row[1] == 'running' and row[2] == holder and row[3] == nonce then
  return ticket(row[14] and 'doomed' or 'run', tonumber(row[4]), tonumber(row[5]), row[14])
end
if row[1] ~= 'queued' then return {'gone'} end
if redis.call('EXISTS', 'rl:dead:' .. holder) == 1 then return {'dead'} end

local verdict, cached = 'run', ''
if row[14] then
  verdict, cached = 'doomed', row[14]
elseif row[11] then
  local entry = redis.call('GET', 'rl:idem:' .. row[11])
  if entry and string.sub(entry, 1, 5) == 'done\n' then
    verdict, cached = 'hit', string.sub(entry, 6)
  else
    local owner = entry and string.sub(entry, 6)
    if owner and owner ~= id and redis.call('EXISTS', record_key(owner)) == 1 then
      local parked = tonumber(row[13] or 0)
      local wait = math.min(250 * 2 ^ parked, 8000)
      redis.call('HSET', key, 'state', 'delayed', 'parked', parked + 1)
      redis.call('ZREM', queued_key(row[12]), id)
      redis.call('ZADD', DELAYED, now_ms() + wait, id)
      return {'in_flight', wait}
    end
    redis.call('SET', 'rl:idem:' .. row[11], 'busy\n' .. id)
  end
end

local now = now_ms()
local incarnation, attempts = tonumber(row[4] or 0) + 1, tonumber(row[5] or 0) + 1
redis.call('HSET', key, 'state', 'running', 'holder', holder, 'nonce', nonce, 'incarnation', incarnation,
  'attempts', attempts, 'started_at', now)
redis.call('ZREM', queued_key(row[12]), id)
redis.call('SADD', held_key(holder), id)
redis.call('ZADD', INDEX, 'NX', now + ARGV[4], holder)
publish_result(ARGV[5], ARGV[6], ARGV[7])
return ticket(verdict, incarnation, attempts, cached)
