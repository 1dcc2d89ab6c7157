--[[
  Writes, replaces or removes one record, if it is still at the revision that the writer has seen; with it, in the same
  step, its entry in the schedule, the marks of retired pairs, and the word to those who wait for it. A record is
  '<revision>:<bytes>'. The revision of a removed record is kept for a while, and the next one under its name goes on from
  there: so a write that was sent before the removal and comes after it is refused.

  KEYS[1]  the record
  KEYS[2]  the revision it had when it was removed
  KEYS[3]  the shard's schedule; absent for records that have none
  KEYS[4…] marks of retired pairs: first those that refuse this write, then those that this write sets
  ARGV[1]  the revision it must have; 0: it must not exist
  ARGV[2]  its next revision
  ARGV[3]  the new bytes; '' removes the record
  ARGV[4]  milliseconds until the record expires, and '' to keep it for good; on removal, how long its revision is kept
  ARGV[5]  the channel that is told its key; '' tells nobody
  ARGV[6]  its name in the schedule   (with KEYS[3])
  ARGV[7]  when it is due, or '+inf'  (with KEYS[3])
  ARGV[8]  how many of KEYS[4…] refuse  (with KEYS[3])
  ARGV[9]  milliseconds that a mark is kept  (with KEYS[3])

  Answers {1}; {0, what stands} where another revision stands; {2, what stands} where a mark refuses. What stands is
  '<revision>:<bytes>', '<revision>:' where it was removed, or '' where nothing was. The same write again answers {1}
  again: a client that lost the first answer may repeat it.
]]
local current = redis.call('GET', KEYS[1])
if not current then
  local removed = redis.call('GET', KEYS[2])
  current = removed and removed .. ':' or ''
end
local revision = string.match(current, '^(%d+):') or '0'

if current == ARGV[2] .. ':' .. ARGV[3] then return {1} end
if revision ~= ARGV[1] then return {0, current} end

local refusing = tonumber(ARGV[8] or 0)
for index = 4, 3 + refusing do
  if redis.call('EXISTS', KEYS[index]) == 1 then return {2, current} end
end
for index = 4 + refusing, #KEYS do redis.call('SET', KEYS[index], '', 'PX', ARGV[9]) end

if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
  if KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[6]) end
else
  if ARGV[4] == '' then
    redis.call('SET', KEYS[1], ARGV[2] .. ':' .. ARGV[3])
  else
    redis.call('SET', KEYS[1], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
  end
  redis.call('DEL', KEYS[2])
  if KEYS[3] then redis.call('ZADD', KEYS[3], ARGV[7], ARGV[6]) end
end
if ARGV[5] ~= '' then redis.pcall('PUBLISH', ARGV[5], KEYS[1]) end
return {1}
