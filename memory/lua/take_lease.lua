#!lua flags=allow-oom
-- Take the lease of a stage of a group, unless another worker holds it or the stage rests.
--
--   KEYS[1]   lease:{stage}:{group}   absent, `queued` (a wake-up is under way), `resting`, or the holder's token
--   ARGV[1]   the taker's token
--   ARGV[2]   time to live, ms
--
-- Returns 1 if taken. Runs at the memory limit too, since draining is what makes room.

local held = redis.call('GET', KEYS[1])
if held and held ~= 'queued' then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
