#!lua flags=allow-oom
-- What tells this life of the server from those before: it was started anew, failed over, or wiped, and may have lost
-- what it had accepted. Called whenever a client finds that the server doesn't know its scripts, as after every start.
--
--   KEYS[1]   generation
--   KEYS[2]   run          the server's own random word for this run of its process
--   ARGV[1]   a random word: the new generation, if there must be one
--
-- Returns the generation. Runs at the memory limit too.

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('GET', KEYS[2]) ~= run then
  redis.call('SET', KEYS[2], run)
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
