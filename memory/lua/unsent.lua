-- Counters of hits and misses since the last call, each handed out once.
--
--   KEYS[1]   recall:{group}   hash: hits, misses, sent_hits, sent_misses
--
-- Returns {hits, misses} not yet handed out.

local found = redis.call('HMGET', KEYS[1], 'hits', 'misses', 'sent_hits', 'sent_misses')
local hits, misses = tonumber(found[1] or 0), tonumber(found[2] or 0)
local unsent = {hits - tonumber(found[3] or 0), misses - tonumber(found[4] or 0)}
if unsent[1] ~= 0 or unsent[2] ~= 0 then
  redis.call('HSET', KEYS[1], 'sent_hits', hits, 'sent_misses', misses)
end
return unsent
