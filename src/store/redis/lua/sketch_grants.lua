--[[
  Tells the little about records that figures are made of, so that they need not be sent as a whole: some microseconds for
  each. A record is searched as text: what stands inside of a string has its quotes escaped, so it is not mistaken for a
  field. All of the records lie on one slot.

  KEYS[1…]  the records

  Answers for each record that is there four texts: its status, the time its access token expires, when it is due ('null':
  never), and '1' where an attempt or an error stands in it, else '0'.
]]
local function after(text, name)
  local _, last = string.find(text, '"' .. name .. '":', 1, true)
  return last and last + 1 or #text + 1
end

local told = {}
for _, key in ipairs(KEYS) do
  local text = redis.call('GET', key)
  if text then
    local calm = string.find(text, '"attempt":null', 1, true) and string.find(text, '"lastError":null', 1, true)
    told[#told + 1] = string.match(text, '^"([a-z_]+)"', after(text, 'status')) or ''
    told[#told + 1] = string.match(text, '^%d+', after(text, 'accessTokenExpiresAtMs')) or ''
    told[#told + 1] = string.match(text, '^%d+', after(text, 'dueAtMs')) or 'null'
    told[#told + 1] = calm and '0' or '1'
  end
end
return told
