#!lua flags=allow-oom
-- Count a drain before it begins; see workers/trial.py.
--
--   KEYS[1]   trial:{stage}:{group}   hash: open, suspects, singles, at, attempts, error, rested
--   ARGV[1]   events that are suspect if the drain before this one did not end well
--   ARGV[2]   of them, those that are dealt with one at a time if it failed at suspects
--   ARGV[3]   time to live, s
--
-- Returns {events that are suspect, events to be dealt with one at a time}.

local was = redis.call('HMGET', KEYS[1], 'open', 'suspects', 'singles')
local suspects, singles = tonumber(was[2] or 0), tonumber(was[3] or 0)
if was[1] == '1' then
  if suspects <= 0 then
    suspects, singles = tonumber(ARGV[1]), 0
  elseif singles <= 0 then
    singles = tonumber(ARGV[2])
  end
end
redis.call('HDEL', KEYS[1], 'rested')
redis.call('HSET', KEYS[1], 'open', 1, 'suspects', suspects, 'singles', singles)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {suspects, singles}
