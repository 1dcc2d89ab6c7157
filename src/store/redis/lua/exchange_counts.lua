--[[
  Adds to counters, and answers what stands in them then. All of them lie on one slot. A counter that nobody adds to goes
  away by itself.

  KEYS[1…]  the counters
  ARGV[1]   how long a counter is kept after an addition, in milliseconds
  ARGV[2…]  what to add, in the order of KEYS; 0 only reads

  Answers the sums, in the order of KEYS.
]]
local sums = {}
for index, key in ipairs(KEYS) do
  local add = tonumber(ARGV[index + 1])
  if add > 0 then
    sums[index] = redis.call('INCRBY', key, add)
    redis.call('PEXPIRE', key, ARGV[1])
  else
    sums[index] = tonumber(redis.call('GET', key) or 0)
  end
end
return sums
