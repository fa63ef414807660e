#!lua flags=allow-oom
-- A drain ended without a fault of its events; see workers/trial.py.
--
--   KEYS[1]   trial:{stage}:{group}
--   ARGV[1]   `caught up`: no event is left, so none is suspect; `turn over`: some may be;
--             `excused`: a server was away, the attempt that was counted last is taken back;
--             `paused`: likewise, and nothing was wrong
--   ARGV[2]   time to live of a trial that was excused or paused, s
--
-- Returns nothing.

local suspects = tonumber(redis.call('HGET', KEYS[1], 'suspects') or 0)
if suspects <= 0 or ARGV[1] == 'caught up' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'open', 0)
end
if ARGV[1] ~= 'excused' and ARGV[1] ~= 'paused' then
  return
end
-- For the sweep's report: it is what tries again, once the stage has rested.
redis.call('HSET', KEYS[1], 'rested', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
if tonumber(redis.call('HGET', KEYS[1], 'attempts') or 0) > 0 then
  redis.call('HINCRBY', KEYS[1], 'attempts', -1)
end
