-- Put events into a group's lane, in the order given, all or none.
--
--   KEYS[1]   lane:{group}       stream; one entry an event: field `e` is its JSON, `g` the generation
--   KEYS[2]   pending            zset of groups with a non-empty lane, scored by the time (ms) of the oldest event
--   KEYS[3]   bell               list that the dispatchers pop
--   KEYS[4]   captured:{group}   hash of counters for the books: events accepted, by generation
--   KEYS[5]   spools:{group}     hash: what each spool has sent, and what waits in it
--   KEYS[6]   full               for a while: 1, the server's memory is above the mark; 0, it was below when last seen
--   KEYS[7]   generation         what tells this life of the server from others
--   KEYS[8]   run                the server's own random word for the run of its process that the generation is of
--   KEYS[9..] dropped:{group}:{path} of every path that these events write to
--
--   ARGV[1]   group
--   ARGV[2]   most events that the lane may hold
--   ARGV[3]   share of maxmemory (0..1) above which nothing is taken
--   ARGV[4]   seconds for which a dropped mark is kept
--   ARGV[5]   a random word, for the name of the new generation, if there is none
--   ARGV[6]   the spool that these events come from, or ''
--   ARGV[7]   how many events that spool had sent before them
--   ARGV[8]   how many wait in it behind them
--   ARGV[9..] the events, as JSON
--
-- Returns {"ok", generation, events that it has accepted in this group}: the receipt.
-- Or {"full lane"} or {"full memory"}; then no event was written.

local first, events = 9, #ARGV - 8
local spool = ARGV[6]
local sent = 0
if spool ~= '' then
  -- A sender that died before it could note what it had sent sends it again.
  sent = tonumber(redis.call('HGET', KEYS[5], spool .. ':sent') or 0)
  local again = math.max(0, math.min(sent - ARGV[7], events))
  first, events = first + again, events - again
end

local function full(what)
  if spool ~= '' then
    redis.call('HSET', KEYS[5], spool .. ':waiting', ARGV[8] + events)
  end
  return {'full ' .. what}
end

local length = redis.call('XLEN', KEYS[1])
if length + events > tonumber(ARGV[2]) then
  return full('lane')
end

-- INFO costs as much as the rest of this script: what it says is remembered for 100 ms, for a second where it is full.
-- Large calls look for themselves, since many of them fit into 100 ms.
local mark, generation = unpack(redis.call('MGET', KEYS[6], KEYS[7]))
if mark == '1' then
  return full('memory')
end
local bytes = 0
for n = first, #ARGV do
  bytes = bytes + #ARGV[n]
end
if not mark or bytes > 4096 then
  local info = redis.call('INFO', 'memory')
  local used = tonumber(string.match(info, 'used_memory:(%d+)'))
  local most = tonumber(string.match(info, 'maxmemory:(%d+)'))
  if most > 0 and used > most * tonumber(ARGV[3]) then
    redis.call('SET', KEYS[6], '1', 'PX', 1000)
    return full('memory')
  end
  redis.call('SET', KEYS[6], '0', 'PX', 100)
end

if not generation then
  -- Everything was wiped.
  local now = redis.call('TIME')
  generation = ARGV[5] .. '-' .. now[1] .. '-' .. now[2]
  redis.call('SET', KEYS[7], generation)
  redis.call('SET', KEYS[8], string.match(redis.call('INFO', 'server'), 'run_id:(%w+)'))
end
for n = first, #ARGV do
  redis.call('XADD', KEYS[1], '*', 'e', ARGV[n], 'g', generation)
end
local accepted = redis.call('HINCRBY', KEYS[4], generation, events)
if spool ~= '' then
  sent = math.max(sent, ARGV[7] + #ARGV - 8)
  redis.call('HSET', KEYS[5], spool .. ':sent', sent, spool .. ':waiting', ARGV[8])
end

local time = redis.call('TIME')
local rings = redis.call('ZADD', KEYS[2], 'NX', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1]) == 1
if rings then
  redis.call('LPUSH', KEYS[3], 'lane ' .. ARGV[1])
  -- Rings may be lost (the sweep heals that), so a bell that nobody answers need not grow.
  redis.call('LTRIM', KEYS[3], 0, 9999)
end
for n = 9, #KEYS do
  redis.call('SET', KEYS[n], string.format('%d%06d', time[1], time[2]), 'EX', ARGV[4])
end
return {'ok', generation, accepted}
