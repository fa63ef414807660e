#!lua flags=allow-oom
-- Announce that a wake-up is about to be sent, unless one is under way, a worker is at it, or the stage rests.
--
--   KEYS[1]   lease:{stage}:{group}
--   ARGV[1]   how long the wake-up may be under way before another may be sent, ms
--
-- Returns 1 if it must be sent. Runs at the memory limit too.

if redis.call('SET', KEYS[1], 'queued', 'NX', 'PX', ARGV[1]) then
  return 1
end
return 0
