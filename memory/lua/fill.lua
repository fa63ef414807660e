-- Hand over an answer to all who wait for it, and cache it unless something it depends on was dropped meanwhile.
--
--   KEYS[1]   reply:{id}                 list of one
--   KEYS[2]   ask:{id}                   deleted
--   KEYS[3]   filling:{group}:{digest}   deleted, if still this question's
--   KEYS[4]   context:{group}:{digest}
--   KEYS[5]   answers:{group}            zset: keys that hold answers, scored by when (ms) they expire
--   KEYS[6..] dropped:{group}:{path} of every path the answer depends on
--
--   ARGV[1]   id of the question
--   ARGV[2]   the answer, as JSON
--   ARGV[3]   paths it depends on, as a JSON list
--   ARGV[4]   server time at which its making started, µs
--   ARGV[5]   time to live of the cached answer, s; 0: do not cache it
--   ARGV[6]   time to live of the reply, s
--   ARGV[7]   time to live of KEYS[5], s: longer than any answer's
--
-- Returns 1 if the answer was cached.

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('LPUSH', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[5], 0, now - 1)
redis.call('ZADD', KEYS[5], now + ARGV[6] * 1000, KEYS[1])
redis.call('EXPIRE', KEYS[5], ARGV[7])
if redis.call('GET', KEYS[3]) == ARGV[1] then
  redis.call('DEL', KEYS[3])
end
if ARGV[5] == '0' then
  return 0
end
for n = 6, #KEYS do
  local dropped = redis.call('GET', KEYS[n])
  if dropped and tonumber(dropped) >= tonumber(ARGV[4]) then
    return 0
  end
end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'answer', ARGV[2], 'paths', ARGV[3], 'started', ARGV[4])
redis.call('EXPIRE', KEYS[4], ARGV[5])
redis.call('ZADD', KEYS[5], now + ARGV[5] * 1000, KEYS[4])
return 1
