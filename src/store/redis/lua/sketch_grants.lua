--[[
  Tells the little about records that figures are made of, so that they need not be sent as a whole: some microseconds for
  each. A packed record has it in front, in bytes (src/store/packed-grant.ts). One that an earlier version has written is
  searched as text: what stands inside of a string has its quotes escaped, so it is not mistaken for a field. All of the
  records lie on one slot.

  KEYS[1…]  the records
  ARGV[1]   the statuses by which packed records are told, comma-separated, in the order of their numbers
  ARGV[2]   the same for the codes of errors; the first is no code
  ARGV[3…]  their guids, in the order of KEYS

  Answers for each record that is there eight texts: its guid, its status, the time its access token expires, when it is due
  ('null': never), '1' where an attempt or an error stands in it, else '0', when it was renewed last ('null': never), and
  the code and the attempts of its last error ('' and '0': there is none).
]]
local PACKED = 2
local NEVER = 2 ^ 48 - 1

local function listed(text)
  local list = {}
  for name in string.gmatch(text .. ',', '([^,]*),') do list[#list + 1] = name end
  return list
end
local statuses, codes = listed(ARGV[1]), listed(ARGV[2])

local function after(text, name)
  local _, last = string.find(text, '"' .. name .. '":', 1, true)
  return last and last + 1 or #text + 1
end

local function told_of_text(text)
  local calm = string.find(text, '"attempt":null', 1, true) and string.find(text, '"lastError":null', 1, true)
  local code, attempts =
    string.match(text, '^{"code":"([a-z_]+)","atMs":%d+,"attempts":(%d+)', after(text, 'lastError'))
  return {
    string.match(text, '^"([a-z_]+)"', after(text, 'status')) or '',
    string.match(text, '^%d+', after(text, 'accessTokenExpiresAtMs')) or '',
    string.match(text, '^%d+', after(text, 'dueAtMs')) or 'null',
    calm and '0' or '1',
    string.match(text, '^%d+', after(text, 'lastRefreshedAtMs')) or 'null',
    code or '',
    attempts or '0',
  }
end

local function time(ms)
  return ms == NEVER and 'null' or string.format('%.0f', ms)
end

local function told_of_packed(text, front)
  if #text < front + 24 then return {'', '', 'null', '1', 'null', '', '0'} end
  local _, status, troubled, expires, due, renewed, code, attempts = struct.unpack('>BBBI6I6I6BH', text, front)
  return {
    statuses[status + 1] or '',
    time(expires),
    time(due),
    troubled == 0 and '0' or '1',
    time(renewed),
    codes[code + 1] or '',
    string.format('%.0f', attempts),
  }
end

local told = {}
for index, key in ipairs(KEYS) do
  local text = redis.call('GET', key)
  if text then
    told[#told + 1] = ARGV[index + 2]
    local front = (string.find(text, ':', 1, true) or 0) + 1
    local isPacked = string.byte(text, front) == PACKED
    for _, each in ipairs(isPacked and told_of_packed(text, front) or told_of_text(text)) do told[#told + 1] = each end
  end
end
return told
