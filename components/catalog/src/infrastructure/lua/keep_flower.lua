-- Keeps ARGV[2] under KEYS[1] for ARGV[3] seconds, if the lease ARGV[1] still stands there.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
