-- Put events into a group's lane, in the order given, all or none.
--
--   KEYS[1]   lane:{group}       stream; one entry an event, field `e`
--   KEYS[2]   pending            zset of groups with a non-empty lane, scored by the time (ms) of the oldest event
--   KEYS[3]   bell               list that the dispatchers pop
--   KEYS[4]   captured:{group}   hash of counters for the books
--   KEYS[5]   full               for a while: 1, the server's memory is above the mark; 0, it was below when last seen
--   KEYS[6..] dropped:{group}:{path} of every path that these events write to
--
--   ARGV[1]   group
--   ARGV[2]   most events that the lane may hold
--   ARGV[3]   share of maxmemory (0..1) above which nothing is taken
--   ARGV[4]   seconds for which a dropped mark is kept
--   ARGV[5..] the events, as JSON
--
-- Returns "ok", or "full lane" or "full memory"; then nothing was written.

local events = #ARGV - 4
local length = redis.call('XLEN', KEYS[1])
if length + events > tonumber(ARGV[2]) then
  return 'full lane'
end

-- INFO costs as much as the rest of this script: what it says is remembered for 100 ms, for a second where it is full.
-- Large calls look for themselves, since many of them fit into 100 ms.
local full = redis.call('GET', KEYS[5])
if full == '1' then
  return 'full memory'
end
local bytes = 0
for n = 5, #ARGV do
  bytes = bytes + #ARGV[n]
end
if not full or bytes > 4096 then
  local info = redis.call('INFO', 'memory')
  local used = tonumber(string.match(info, 'used_memory:(%d+)'))
  local most = tonumber(string.match(info, 'maxmemory:(%d+)'))
  if most > 0 and used > most * tonumber(ARGV[3]) then
    redis.call('SET', KEYS[5], '1', 'PX', 1000)
    return 'full memory'
  end
  redis.call('SET', KEYS[5], '0', 'PX', 100)
end

for n = 5, #ARGV do
  redis.call('XADD', KEYS[1], '*', 'e', ARGV[n])
end
redis.call('HINCRBY', KEYS[4], 'captured', events)

local time = redis.call('TIME')
if redis.call('ZADD', KEYS[2], 'NX', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1]) == 1 then
  redis.call('LPUSH', KEYS[3], 'lane ' .. ARGV[1])
  -- Rings may be lost (the sweep heals that), so a bell that nobody answers need not grow.
  redis.call('LTRIM', KEYS[3], 0, 9999)
end
for n = 6, #KEYS do
  redis.call('SET', KEYS[n], string.format('%d%06d', time[1], time[2]), 'EX', ARGV[4])
end
return 'ok'
