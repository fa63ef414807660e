#!lua flags=allow-oom
-- Drop paths: every cached answer that depends on one of them and was begun before now is void.
--
--   KEYS[1..] dropped:{group}:{path}
--   ARGV[1]   seconds for which the mark is kept: longer than any cached answer lives
--
-- Returns the server time, µs. At most a few hundred keys a call, so that the server is never held up.

local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
for n = 1, #KEYS do
  redis.call('SET', KEYS[n], now, 'EX', ARGV[1])
end
return now
