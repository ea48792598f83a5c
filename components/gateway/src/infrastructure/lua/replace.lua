-- Puts ARGV[2] in the place of ARGV[1] under KEYS[1] for ARGV[3] ms, unless something else stands there by now; an
-- empty text is no value. Gives whether it did, and what stands there.
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then
    return {0, found}
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return {1, ARGV[2]}
