--[[
  Takes one record out of service, if it still is what was exported: it is not found under its name any more, nor in the
  schedule. A copy of it stays for a while under a name that no gateway looks at, from where `put_back` fetches it. The
  record's revision is remembered as that of one which was removed: so a write that was sent before, and comes late, is refused.

  KEYS[1]  the record
  KEYS[2]  the revision it had when it was removed
  KEYS[3]  the copy
  KEYS[4]  the shard's schedule; absent for records that have none
  ARGV[1]  the record's text, as it was exported
  ARGV[2]  the revision to be remembered
  ARGV[3]  milliseconds that it is remembered
  ARGV[4]  milliseconds that the copy stays
  ARGV[5]  its name in the schedule  (with KEYS[4])

  Answers 1, or 0 where something else stands there now, or nothing does.
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[3])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if KEYS[4] then redis.call('ZREM', KEYS[4], ARGV[5]) end
return 1
