#!lua flags=allow-oom
-- Hand over an answer that is not cached to whoever waits for it. Runs at the memory limit too.
--
--   KEYS[1]   reply:{id}   list of one
--   KEYS[2]   ask:{id}     deleted
--
--   ARGV[1]   the answer, as JSON
--   ARGV[2]   time to live of the reply, s
--
-- Returns nothing.

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
