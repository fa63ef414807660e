#!lua flags=allow-oom
-- Forget counters of earlier generations once the ledger has them, unless they have changed since they were read.
--
--   KEYS[1]   captured:{group}
--   ARGV      generation, count, generation, count, …

for n = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[n]) == ARGV[n + 1] then
    redis.call('HDEL', KEYS[1], ARGV[n])
  end
end
