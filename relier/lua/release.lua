-- release: a quarantined task gets one more start. Its deaths stay counted: one more ends it in the DLQ again.
-- ARGV 1 id
-- Reply 'ok' | 'again' (it is in line already) | 'unknown'
local id = ARGV[1]
local entry = redis.call('HGET', DLQ, id)
if not entry then return redis.call('EXISTS', record_key(id)) == 1 and 'again' or 'unknown' end
local row = cjson.decode(entry)
redis.call('HSET', record_key(id), 'state', 'queued', 'name', row.name, 'queue', row.queue, 'lane', row.queue,
  'envelope', row.envelope or '', 'signature', row.signature or '', 'extra', row.extra,
  'incarnation', row.incarnation, 'attempts', row.attempts)
for _, field in ipairs({'idem', 'cap', 'checkpoint'}) do
  if row[field] ~= '' then redis.call('HSET', record_key(id), field, row[field]) end
end
redis.call('HDEL', DLQ, id)
redis.call('DEL', receipt_key(id), 'celery-task-meta-' .. id)
enqueue(id, row.name, row.queue, row.extra)
return 'ok'
