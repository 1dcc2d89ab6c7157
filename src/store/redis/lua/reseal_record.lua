--[[
  Puts a record's text, sealed with another key, in the place of the one that was read, if that still stands, byte for byte.
  Revision, schedule and time to live stay as they are, and nobody is told: nothing has happened to the record.

  So a writer who has read the record before goes on undisturbed: `write_record` compares revisions. One thing is different
  for it: a write whose answer was lost, and which the client sends again, is known again by its text, and that may be
  another one by now. Then the repetition is refused, as if somebody else had written, and is told what stands: its own
  record, at its own revision. That is safe, since every writer decides anew from what it is told (`change`), and has to do
  so already where its call has failed: each call seals with a new nonce, so no two of them have the same text. A pair that
  was committed is found standing; a lease that was taken is taken for somebody else's, and waited for.

  KEYS[1]  the record
  ARGV[1]  its text as it was read
  ARGV[2]  the text to put in its place

  Answers 1, or 0 where another text stands, or none.
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
