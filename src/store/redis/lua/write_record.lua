--[[
  Writes, replaces or removes one record, if it is still at the revision that the writer has seen; with it, in the same
  step, its entry in the schedule, and the word to those who wait for it. A record is the text '<revision>:<json>'.

  KEYS[1]  the record
  KEYS[2]  the shard's schedule; absent for records that have none
  ARGV[1]  the revision it must have; 0: it must not exist
  ARGV[2]  the new text; '' removes the record
  ARGV[3]  milliseconds until the record expires; '' keeps it for good
  ARGV[4]  the channel that is told its key; '' tells nobody
  ARGV[5]  its name in the schedule   (with KEYS[2])
  ARGV[6]  when it is due, or '+inf'  (with KEYS[2])

  Answers {1}, or {0, what stands there ('' where nothing does)}. The same write again answers {1} again: a client that
  lost the first answer may repeat it.
]]
local current = redis.call('GET', KEYS[1]) or ''
local revision = string.match(current, '^(%d+):') or '0'

if current == ARGV[2] then return {1} end
if revision ~= ARGV[1] then return {0, current} end

if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  if KEYS[2] then redis.call('ZREM', KEYS[2], ARGV[5]) end
else
  if ARGV[3] == '' then
    redis.call('SET', KEYS[1], ARGV[2])
  else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  end
  if KEYS[2] then redis.call('ZADD', KEYS[2], ARGV[6], ARGV[5]) end
end
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[4], KEYS[1]) end
return {1}
