#!lua flags=allow-oom
-- Count an attempt at one event, before the work; see workers/trial.py.
--
--   KEYS[1]   trial:{stage}:{group}
--   ARGV[1]   where the event stands
--
-- Returns how often it was attempted, this time included.

if redis.call('HGET', KEYS[1], 'at') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'at', ARGV[1], 'attempts', 0)
  redis.call('HDEL', KEYS[1], 'error')
end
return redis.call('HINCRBY', KEYS[1], 'attempts', 1)
