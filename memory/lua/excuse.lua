#!lua flags=allow-oom
-- Take back the try that was counted last: a server was away, which is no event's fault; see workers/trial.py.
--
--   KEYS[1]   trial:{stage}:{group}
--
-- Returns nothing.

if redis.call('HINCRBY', KEYS[1], 'began', -1) <= 0 then
  redis.call('DEL', KEYS[1])
elseif tonumber(redis.call('HGET', KEYS[1], 'attempts') or 0) > 0 then
  redis.call('HINCRBY', KEYS[1], 'attempts', -1)
end
