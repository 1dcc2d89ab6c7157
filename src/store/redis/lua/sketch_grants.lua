--[[
  Tells the little about records that figures are made of, so that they need not be sent as a whole: some microseconds for
  each. A record is searched as text: what stands inside of a string has its quotes escaped, so it is not mistaken for a
  field. All of the records lie on one slot.

  KEYS[1…]  the records
  ARGV[1…]  their guids, in the order of KEYS

  Answers for each record that is there eight texts: its guid, its status, the time its access token expires, when it is due
  ('null': never), '1' where an attempt or an error stands in it, else '0', when it was renewed last ('null': never), and
  the code and the attempts of its last error ('' and '0': there is none).
]]
local function after(text, name)
  local _, last = string.find(text, '"' .. name .. '":', 1, true)
  return last and last + 1 or #text + 1
end

local told = {}
for index, key in ipairs(KEYS) do
  local text = redis.call('GET', key)
  if text then
    local calm = string.find(text, '"attempt":null', 1, true) and string.find(text, '"lastError":null', 1, true)
    local code, attempts =
      string.match(text, '^{"code":"([a-z_]+)","atMs":%d+,"attempts":(%d+)', after(text, 'lastError'))
    told[#told + 1] = ARGV[index]
    told[#told + 1] = string.match(text, '^"([a-z_]+)"', after(text, 'status')) or ''
    told[#told + 1] = string.match(text, '^%d+', after(text, 'accessTokenExpiresAtMs')) or ''
    told[#told + 1] = string.match(text, '^%d+', after(text, 'dueAtMs')) or 'null'
    told[#told + 1] = calm and '0' or '1'
    told[#told + 1] = string.match(text, '^%d+', after(text, 'lastRefreshedAtMs')) or 'null'
    told[#told + 1] = code or ''
    told[#told + 1] = attempts or '0'
  end
end
return told
