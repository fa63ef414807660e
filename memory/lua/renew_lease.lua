#!lua flags=allow-oom
-- Renew a lease, or end it.
--
--   KEYS[1]   lease:{stage}:{group}
--   ARGV[1]   the holder's token
--   ARGV[2]   time to live, ms; 0 lets go
--   ARGV[3]   what the lease holds from now on: the token again, or `resting`
--
-- Returns 1 if the lease was still the holder's. Runs at the memory limit too.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
end
return 1
