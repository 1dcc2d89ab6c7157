--[[
  Takes those of the named grants that are still due, by moving their place in the schedule past the time the taker needs.
  If the taker dies, they become due again by themselves. The records are not touched.

  KEYS[1]   the shard's schedule
  KEYS[2…]  the records of the candidates
  ARGV[1]   now, in milliseconds
  ARGV[2]   when they become due again
  ARGV[3…]  the candidates' guids, in the order of KEYS[2…]

  Answers a list of guid, text, guid, text … of those taken.
]]
local taken = {}
for index = 2, #KEYS do
  local guid = ARGV[index + 1]
  local score = redis.call('ZSCORE', KEYS[1], guid)
  if score and tonumber(score) <= tonumber(ARGV[1]) then
    -- Something else than a record, which somebody has put there, must not keep the others from being taken.
    local record = redis.pcall('GET', KEYS[index])
    if type(record) == 'table' then
      redis.call('ZADD', KEYS[1], ARGV[2], guid)
    elseif record then
      redis.call('ZADD', KEYS[1], ARGV[2], guid)
      taken[#taken + 1] = guid
      taken[#taken + 1] = record
    else
      redis.call('ZREM', KEYS[1], guid)
    end
  end
end
return taken
