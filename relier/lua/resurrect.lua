-- resurrect: what a dead holder held goes back into line on `re-queue`, or into the DLQ when it died too often.
-- ARGV 1 holder  2 how many at most  3 default resurrection cap  4 deepest `re-queue` that may still be filled
-- ARGV 5 '1' when the death is proven (otherwise its deadline decides)  6 result TTL in s
-- Reply {'alive'|'taken'|'backpressure'|'done'|'more', id, name, 'requeued'|'quarantined'|'doomed', deaths, ...}
even_when_full()
local holder, proven = ARGV[1], ARGV[5] == '1'
local deadline = redis.call('ZSCORE', INDEX, holder)
if proven then redis.call('SET', 'rl:dead:' .. holder, '1', 'EX', 3600) end
if not deadline and redis.call('EXISTS', held_key(holder)) == 0 then return {'taken'} end
if not proven and deadline and tonumber(deadline) > now_ms() then return {'alive'} end
if redis.call('LLEN', REQUEUE) >= tonumber(ARGV[4]) then return {'backpressure'} end

local ids = redis.call('SRANDMEMBER', held_key(holder), ARGV[2])
local reply = {'done'}
for _, id in ipairs(ids) do
  local row = load_record(id)
  redis.call('SREM', held_key(holder), id)
  if row.state == 'running' and row.holder == holder then
    local deaths = tonumber(row.attempts)
    local verdict = 'requeued'
    if deaths > tonumber(row.cap or ARGV[3]) and has_followers(row.extra) and not row.doomed then
      doom(id, row.name, row.extra, 'max_resurrections_exceeded')
      verdict = 'doomed'
    elseif deaths > tonumber(row.cap or ARGV[3]) then
      verdict = 'quarantined'
      quarantine(id, row, 'max_resurrections_exceeded', 'The task ended ' .. deaths .. ' of its workers.', '')
      publish_result('celery-task-meta-' .. id, cjson.encode({
        status = 'FAILURE', traceback = cjson.null, date_done = cjson.null, task_id = id,
        result = {exc_type = 'WorkerLostError', exc_module = 'billiard.exceptions',
                  exc_message = {'max_resurrections_exceeded: the task ended ' .. deaths .. ' of its workers'}},
      }), ARGV[6])
      count('failed', '')
      settle(id, nil, 'dlq')
    else
      redis.call('INCR', 'rl:resurrections:' .. id)
      redis.call('EXPIRE', 'rl:resurrections:' .. id, 604800)
      requeue(id, row.name, REQUEUE, row.extra)
    end
    for _, field in ipairs({id, row.name, verdict, deaths}) do reply[#reply + 1] = field end
  end
end
if redis.call('EXISTS', held_key(holder)) == 1 then
  reply[1] = 'more'
else
  redis.call('ZREM', INDEX, holder)
  redis.call('DEL', 'rl:hb:' .. holder)
end
return reply
