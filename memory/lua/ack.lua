#!lua flags=allow-oom
-- Delete entries that the ledger has from their lane, and bring `pending` up to date, in one step:
-- an event published in between is either seen here or rings the bell.
--
--   KEYS[1]   lane:{group}
--   KEYS[2]   pending
--   ARGV[1]   group
--   ARGV[2..] stream ids
--
-- Returns how many entries the lane still holds. Runs at the memory limit too: it is what makes room.

for n = 2, #ARGV, 500 do
  redis.call('XDEL', KEYS[1], unpack(ARGV, n, math.min(n + 499, #ARGV)))
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if oldest then
  -- Its id may lie in the future: after a failover from a server whose clock was ahead.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZADD', KEYS[2], math.min(now, tonumber(string.match(oldest[1], '^%d+'))), ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return redis.call('XLEN', KEYS[1])
