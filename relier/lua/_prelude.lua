-- Shared by every script: the names of the keys and the few steps that several transitions have in common.
-- Scripts compute the keys of a task from its id: Relier runs on Sentinel or a single node, never on Cluster.
-- Every script is safe to run twice with the same arguments: a client whose reply was lost simply asks again.

local INDEX, DELAYED, DLQ = 'rl:phoenix:expiry_index', 'rl:delayed', 'rl:dlq'
local REQUEUE, RECEIPT_SECONDS = 're-queue', 120

local function record_key(id) return 'rl:phoenix:' .. id end
local function held_key(holder) return 'rl:held:' .. holder end
local function queued_key(queue) return 'rl:queued:' .. queue end
local function receipt_key(id) return 'rl:receipt:' .. id end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A full Redis refuses a script's first write, if that could take memory, and nothing after it. Transitions that free
-- memory or keep a holder alive begin with a write that is always allowed, so that a full Redis can empty itself.
local function even_when_full() redis.call('PERSIST', 'rl:seq') end

-- The claim check: a message in Celery's protocol 2 without arguments. `extra` is ready-made JSON for more headers.
local function claim_check(id, name, queue, extra, tag)
  local qid = cjson.encode(id)
  return '{"body":"W1tdLHt9LHt9XQ==","content-encoding":"utf-8","content-type":"application/json","headers":{'
    .. '"lang":"py","rl":1,"ignore_result":true,"task":' .. cjson.encode(name) .. ',"id":' .. qid .. extra
    .. '},"properties":{"correlation_id":' .. qid .. ',"reply_to":"","delivery_mode":2,'
    .. '"delivery_info":{"exchange":"","routing_key":' .. cjson.encode(queue) .. '},'
    .. '"body_encoding":"base64","delivery_tag":' .. cjson.encode(id .. '.' .. tag) .. '}}'
end

-- Puts the record in line: `rl:queued:<queue>` holds the order in which messages stand in the list.
local function enqueue(id, name, queue, extra)
  local seq = redis.call('INCR', 'rl:seq')
  redis.call('ZADD', queued_key(queue), seq, id)
  redis.call('LPUSH', queue, claim_check(id, name, queue, extra, seq))
end

local function known(id) return redis.call('EXISTS', record_key(id), receipt_key(id)) > 0 end

-- A new record from {id, name, queue, envelope, signature, extra, idem, cap, delay_ms}.
local function create(task)
  local key = record_key(task[1])
  local delay = tonumber(task[9])
  redis.call('HSET', key, 'state', delay > 0 and 'delayed' or 'queued', 'name', task[2], 'queue', task[3],
    'lane', task[3], 'envelope', task[4], 'signature', task[5], 'extra', task[6])
  if task[7] ~= '' then redis.call('HSET', key, 'idem', task[7]) end
  if task[8] ~= '' then redis.call('HSET', key, 'cap', task[8]) end
  if delay > 0 then
    redis.call('ZADD', DELAYED, now_ms() + delay, task[1])
  else
    enqueue(task[1], task[2], task[3], task[6])
  end
end

-- Moves a record from wherever it is back into line on `queue`.
local function requeue(id, name, queue, extra)
  redis.call('HSET', record_key(id), 'state', 'queued', 'lane', queue)
  redis.call('HDEL', record_key(id), 'holder', 'nonce', 'started_at')
  enqueue(id, name, queue, extra or '')
end

-- True when `holder` runs incarnation `inc` of the task.
local function owns(row, holder, inc)
  return row[1] == 'running' and row[2] == holder and row[3] == inc
end

-- Ends a task: nothing of it remains but a short receipt, by which a repeated call recognises itself.
local function settle(id, holder, receipt)
  redis.call('DEL', record_key(id))
  if holder and holder ~= '' then redis.call('SREM', held_key(holder), id) end
  redis.call('SET', receipt_key(id), receipt, 'EX', RECEIPT_SECONDS)
end

local function release_idem(idem, id)
  if idem and redis.call('GET', 'rl:idem:' .. idem) == 'busy\n' .. id then redis.call('DEL', 'rl:idem:' .. idem) end
end

-- Celery's own result key, so that AsyncResult works and a zombie cannot overwrite it.
local function publish_result(key, payload, ttl)
  if payload == '' then return end
  if tonumber(ttl) > 0 then redis.call('SET', key, payload, 'EX', ttl) else redis.call('SET', key, payload) end
  redis.call('PUBLISH', key, payload)
end

-- One outcome for the counters and for the SLO buckets of five minutes, which live for three days and an hour.
local function count(outcome, node)
  redis.call('INCR', 'rl:m:global:' .. outcome)
  if node ~= '' then redis.call('INCR', 'rl:m:w:' .. node .. ':' .. outcome) end
  local bucket = 'rl:slo:' .. math.floor(redis.call('TIME')[1] / 300)
  if redis.call('HINCRBY', bucket, outcome, 1) == 1 then redis.call('EXPIRE', bucket, 262800) end
end

-- The DLQ entry holds strings only: the envelope must come out byte for byte as it was signed.
local function quarantine(id, row, reason, error, traceback)
  redis.call('HSET', DLQ, id, cjson.encode({
    task_id = id, name = row.name, queue = row.queue, envelope = row.envelope, signature = row.signature,
    extra = row.extra or '', idem = row.idem or '', cap = row.cap or '', checkpoint = row.checkpoint or '',
    incarnation = tonumber(row.incarnation or 0), attempts = tonumber(row.attempts or 0),
    resurrection_count = tonumber(redis.call('GET', 'rl:resurrections:' .. id) or 0),
    reason = reason, error = error, traceback = traceback, quarantined_at = now_ms() / 1000,
  }))
  release_idem(row.idem, id)
end

-- A task that others wait for (chord, chain, errbacks: header "after") must not end unheard. It goes back into line as
-- doomed, and the worker that claims it reports its end instead of running it. Its message says so as well, because
-- workers discard messages of tasks that they know as revoked or expired.
local function has_followers(extra) return extra and string.find(extra, '"after":1', 1, true) end

local function doom(id, name, extra, reason)
  local marked = extra .. ',"doomed":1'
  redis.call('HSET', record_key(id), 'doomed', reason, 'extra', marked)
  requeue(id, name, REQUEUE, marked)
end

local function load_record(id)
  local flat, row = redis.call('HGETALL', record_key(id)), {}
  for i = 1, #flat, 2 do row[flat[i]] = flat[i + 1] end
  return row
end

-- The outbox: what a body's success sets off (chain, link), enqueued in the same step as its commit.
-- Each entry is 'task' and nine fields for `create`, or 'raw', a list and a message of plain Celery.
local function deliver(argv, from)
  local i = from
  while i <= #argv do
    if argv[i] == 'task' then
      if not known(argv[i + 1]) then create({unpack(argv, i + 1, i + 9)}) end
      i = i + 10
    else
      redis.call('LPUSH', argv[i + 1], argv[i + 2])
      i = i + 3
    end
  end
end
