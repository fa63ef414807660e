-- Look up an answer; where there is none, see to it that exactly one question is being answered.
--
--   KEYS[1]   context:{group}:{digest}   hash: answer, paths (JSON list), started (server time, µs)
--   KEYS[2]   recall:{group}             counters hits, misses
--   KEYS[3]   filling:{group}:{digest}   id of the question that is filling this answer now
--   KEYS[4]   ask:{id}                   where the question is put
--   KEYS[5]   bell
--
--   ARGV[1]   prefix of the group's dropped marks, `dropped:{group}:` (the paths are known only to the answer)
--   ARGV[2]   id of this question
--   ARGV[3]   the question, as JSON
--   ARGV[4]   how long the filling may take before another may try, ms
--   ARGV[5]   1 where this question was counted before (a second look while waiting)
--
-- Returns {"hit", answer, now}, or {"miss", id, now}: wait for reply:{id}, which is another's where one is already
-- filling. `now` is the server time, µs: another's answer may have been begun before it, and before an edit that this
-- asker knows of; then look again.
-- A path that was dropped at or after the start of the making makes the answer void.

local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
local cached = redis.call('HMGET', KEYS[1], 'answer', 'paths', 'started')
if cached[1] then
  local started = tonumber(cached[3])
  local marks = {}
  for n, path in ipairs(cjson.decode(cached[2])) do
    marks[n] = ARGV[1] .. path
  end
  local valid = true
  for n = 1, #marks, 1000 do
    for _, dropped in ipairs(redis.call('MGET', unpack(marks, n, math.min(n + 999, #marks)))) do
      if dropped and tonumber(dropped) >= started then
        valid = false
      end
    end
  end
  if valid then
    if ARGV[5] == '0' then
      redis.call('HINCRBY', KEYS[2], 'hits', 1)
    end
    return {'hit', cached[1], now}
  end
  redis.call('DEL', KEYS[1])
end

if ARGV[5] == '0' then
  redis.call('HINCRBY', KEYS[2], 'misses', 1)
end
local other = redis.call('GET', KEYS[3])
if other then
  return {'miss', other, now}
end
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[4])
redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4])
redis.call('LPUSH', KEYS[5], 'ask ' .. ARGV[2])
redis.call('LTRIM', KEYS[5], 0, 9999)
return {'miss', ARGV[2], now}
