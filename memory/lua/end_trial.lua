#!lua flags=allow-oom
-- A drain ended without a fault of its events; see workers/trial.py.
--
--   KEYS[1]   trial:{stage}:{group}
--   ARGV[1]   `caught up`: no event is left, so none is suspect; `turn over`: some may be;
--             `excused`: a server was away, the attempt that was counted last is taken back
--
-- Returns nothing.

local suspects = tonumber(redis.call('HGET', KEYS[1], 'suspects') or 0)
if suspects <= 0 or ARGV[1] == 'caught up' then
  redis.call('DEL', KEYS[1])
  return
end
redis.call('HSET', KEYS[1], 'open', 0)
if ARGV[1] == 'excused' and tonumber(redis.call('HGET', KEYS[1], 'attempts') or 0) > 0 then
  redis.call('HINCRBY', KEYS[1], 'attempts', -1)
end
