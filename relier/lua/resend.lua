-- resend: a message again for queued records that have none. At the head of the list, for they are the oldest; their
-- place in the order stays. A message too many does no harm: whoever comes second finds nothing to claim.
-- ARGV ids, the oldest first
-- Reply how many messages were sent
local sent = 0
for i = #ARGV, 1, -1 do
  local id = ARGV[i]
  local row = redis.call('HMGET', record_key(id), 'state', 'name', 'lane', 'extra')
  local seq = row[1] == 'queued' and redis.call('ZSCORE', queued_key(row[3]), id)
  if seq then
    local tag = seq .. '.' .. redis.call('INCR', 'rl:seq')
    redis.call('RPUSH', row[3], claim_check(id, row[2], row[3], row[4] or '', tag))
    sent = sent + 1
  end
end
return sent
