#!lua flags=allow-oom
-- Count a drain before it begins; see workers/trial.py.
--
--   KEYS[1]   trial:{stage}:{group}   hash: began, suspects, at, attempts, error
--   ARGV[1]   events that are suspect if the drain before this one did not end well
--   ARGV[2]   time to live, s
--
-- Returns {drains begun since one ended well, events to be dealt with one at a time}.

local began = redis.call('HINCRBY', KEYS[1], 'began', 1)
local suspects = tonumber(redis.call('HGET', KEYS[1], 'suspects') or 0)
if began > 1 and suspects <= 0 then
  suspects = tonumber(ARGV[1])
  redis.call('HSET', KEYS[1], 'suspects', suspects)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {began, suspects}
