-- Compare and set of all that a step read and wrote; the only script there is.
-- KEYS: blobs and records. ARGV: the writer's present, then of each key {want, value, px}, then any
-- number of {channel, message}. want: its first 24 bytes, '' for absent. value: '' leaves it.
local t = redis.call('TIME')
local ms = t[1] * 1000 + math.floor(t[2] / 1000)
local cur, n = redis.call('MGET', unpack(KEYS)), #KEYS
local late = ms - ARGV[1]
local ok = late >= 0 and late <= 50
for i = 1, n do
  ok = ok and string.sub(cur[i] or '', 1, 24) == ARGV[3 * i - 1]
end
if not ok then
  return {0, ms, cur}
end
for i = 1, n do
  local value, px = ARGV[3 * i], ARGV[3 * i + 1]
  if px ~= '' then
    redis.call('SET', KEYS[i], value, 'PX', px)
  elseif value ~= '' then
    redis.call('SET', KEYS[i], value)
  end
end
for i = 3 * n + 2, #ARGV, 2 do
  redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return {1, ms}
