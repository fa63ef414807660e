#!lua flags=allow-oom
-- What tells this server's stream ids from those of one that was wiped; made by whoever finds it missing.
--
--   KEYS[1]   generation
--   ARGV[1]   a random word
--
-- Returns what the key holds. Runs at the memory limit too.

redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
