--[[
  Puts a record back that `take_out` has taken out, as it was. Where something stands under its name now, that stays.

  KEYS[1]  the record
  KEYS[2]  the revision that is remembered since it was taken out
  KEYS[3]  the copy
  KEYS[4]  the shard's schedule; absent for records that have none
  ARGV[1]  its name in the schedule   (with KEYS[4])
  ARGV[2]  when it is due, or '+inf'  (with KEYS[4])

  Answers 1, 0 where there is no copy any more, or -1 where something else stands under its name.
]]
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('PERSIST', KEYS[1])
redis.call('DEL', KEYS[2])
if KEYS[4] then redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1]) end
return 1
