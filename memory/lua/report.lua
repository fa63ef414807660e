-- Report what a producer's machine knows of a group: its last receipt, and what waits in its spool.
--
--   KEYS[1]   captured:{group}   hash of counters for the books
--   KEYS[2]   spools:{group}     hash: what each spool has sent, and what waits in it
--   KEYS[3]   bell               list that the dispatchers pop
--   ARGV[1]   group
--   ARGV[2]   generation of the last receipt, or ''
--   ARGV[3]   how many events that generation had accepted then
--   ARGV[4]   the spool, or ''
--   ARGV[5]   how many events wait in it
--
-- If the server accepted more than it knows of, it has lost its memory: the bell is rung, so that the ledger learns it.

if ARGV[2] ~= '' and tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0) < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
  redis.call('LPUSH', KEYS[3], 'lane ' .. ARGV[1])
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[4] .. ':waiting', ARGV[5])
end
return 'ok'
