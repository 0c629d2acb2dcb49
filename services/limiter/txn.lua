-- Compare and set of all that a step read and wrote; the only script there is.
-- KEYS: blobs and records. ARGV: the writer's present, then of each key {want, value, px}, then any
-- number of {channel, message}. want: its first 24 bytes, '' for absent. value: '' leaves it.
local t = redis.call('TIME')
local call, sub = redis.call, string.sub
local ms = t[1] * 1000 + math.floor(t[2] / 1000)
local cur, n = call('MGET', unpack(KEYS)), #KEYS
local late = ms - ARGV[1]
local ok = late >= 0 and late <= 50
for i = 1, n do
  ok = ok and sub(cur[i] or '', 1, 24) == ARGV[3 * i - 1]
end
if not ok then
  return {0, ms, cur}
end
local lasting, m = {}, 0
for i = 1, n do
  local value, px = ARGV[3 * i], ARGV[3 * i + 1]
  if px ~= '' then
    call('PSETEX', KEYS[i], px, value)
  elseif value ~= '' then
    lasting[m + 1], lasting[m + 2] = KEYS[i], value
    m = m + 2
  end
end
if m > 0 then
  call('MSET', unpack(lasting))
end
for i = 3 * n + 2, #ARGV, 2 do
  call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return {1, ms}
