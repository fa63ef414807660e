#!lua flags=allow-oom
-- Forget paths on which no living answer depends any more. In one step: a fill in between may make them known again.
--
--   KEYS[1]   paths:{group}       zset, lexical
--   KEYS[2]   paths-due:{group}   zset: the same paths, scored by when (ms) the last answer depending on them has expired
--   ARGV[1]   most paths to forget
--
-- Returns how many were forgotten.

local time = redis.call('TIME')
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], 0, time[1] * 1000 + math.floor(time[2] / 1000), 'LIMIT', 0, ARGV[1])
if #expired > 0 then
  redis.call('ZREM', KEYS[1], unpack(expired))
  redis.call('ZREM', KEYS[2], unpack(expired))
end
return #expired
