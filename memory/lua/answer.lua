#!lua flags=allow-oom
-- Hand over an answer that is not cached to whoever waits for it. Runs at the memory limit too.
--
--   KEYS[1]   reply:{id}   list of one
--   KEYS[2]   ask:{id}     deleted
--   KEYS[3]   answers:{group}   zset: keys that hold answers, scored by when (ms) they expire; absent where the answer
--                               tells of no event
--
--   ARGV[1]   the answer, as JSON
--   ARGV[2]   time to live of the reply, s
--   ARGV[3]   time to live of KEYS[3], s: longer than any answer's
--
-- Returns nothing.

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
if KEYS[3] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], 0, now - 1)
  redis.call('ZADD', KEYS[3], now + ARGV[2] * 1000, KEYS[1])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
