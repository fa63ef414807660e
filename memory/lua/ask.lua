-- Put a question of a tool to the workers. Put again under the same id, it is the same question: it may be answered
-- twice, with one answer.
--
--   KEYS[1]   ask:{id}   where the question is put
--   KEYS[2]   bell
--
--   ARGV[1]   id of the question
--   ARGV[2]   the question, as JSON
--   ARGV[3]   how long it may wait for a worker, s
--
-- Returns nothing. The answer comes into the list of one `reply:{id}`.

redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('LPUSH', KEYS[2], 'ask ' .. ARGV[1])
-- Rings may be lost (who asks rings again), so a bell that nobody answers need not grow.
redis.call('LTRIM', KEYS[2], 0, 9999)
