"""What Redis has to do in one step, in Lua. Keys of orders are made in the scripts: one Redis, no Redis Cluster."""

APPLY = """
for at = 3, #ARGV, 5 do
    local id, seq, status, final, order = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local key = ARGV[1] .. id
    local known = redis.call('HMGET', key, 'seq', 'ended')
    if not known[2] then
        if final == '1' then
            redis.call('DEL', key)
            redis.call('HSET', key, 'ended', '1')
            redis.call('EXPIRE', key, ARGV[2])
            redis.call('ZREM', KEYS[1], id)
        else
            if tonumber(seq) > tonumber(known[1] or '0') then
                redis.call('HSET', key, 'seq', seq, 'status', status, 'order', order)
            end
            redis.call('ZADD', KEYS[1], 0, id)
        end
    end
end
"""
"""KEYS: open set. ARGV: prefix of the orders' keys, seconds to remember that an order has ended; then of each order its
id, sequence number, status, 1 if it has ended, and the order as JSON.

Nodes send on their own, so that an order's states can come out of sequence: the greatest sequence number wins, and an
order that has ended stays so.
"""

READ = """
local state = redis.call('GET', KEYS[2])
if not state or state ~= redis.call('GET', KEYS[3]) then
    return false
end
local rows = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)) do
    rows[#rows + 1] = redis.call('HGET', ARGV[1] .. id, 'order')
end
return rows
"""
"""KEYS: open set, state, whole state. ARGV: prefix of the orders' keys, limit. Answers orders, oldest first.

Nil: the set may not be whole.
"""

BEGIN_REBUILD = """
local state = redis.call('GET', KEYS[1])
if redis.call('EXISTS', KEYS[4]) == 1 then
    return false
end
if state and state == redis.call('GET', KEYS[2]) and redis.call('EXISTS', KEYS[3]) == 1 then
    return false
end
redis.call('SET', KEYS[4], '1', 'PX', ARGV[2])
if not state then
    state = ARGV[1]
    redis.call('SET', KEYS[1], state)
end
return state
"""
"""KEYS: state, whole state, fresh, busy. ARGV: a new state, milliseconds until another node may try.

Nil: nothing is to be done, or another node does it.
"""

END_REBUILD = """
redis.call('DEL', KEYS[4])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
return 1
"""
"""KEYS: state, whole state, fresh, busy. ARGV: the state at the beginning, milliseconds for which the set is fresh.

0: something was lost meanwhile.
"""

BEGIN_ORDERS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, count, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local granted = math.min(wanted, math.max(0, count - redis.call('ZCARD', KEYS[1])))
for number = 1, granted do
    redis.call('ZADD', KEYS[1], now, ARGV[4] .. number)
end
redis.call('PEXPIRE', KEYS[1], window)
if granted == wanted then
    return {granted, 0}
end
-- Room comes when so many have left the window that there are fewer than `count`.
local leaving = redis.call('ZRANGE', KEYS[1], redis.call('ZCARD', KEYS[1]) - count, -1, 'WITHSCORES')[2]
return {granted, leaving and math.max(1, leaving + window - now) or window}
"""
"""KEYS: starts. ARGV: window in ms, count, wanted, a name for these starts. Answers granted, ms until the next."""

HOLD_SLOTS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms, first_new = now + ARGV[2], 4 + ARGV[3]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for at = 4, first_new - 1 do
    redis.call('ZADD', KEYS[1], until_ms, ARGV[at])
end
local room = ARGV[1] - redis.call('ZCARD', KEYS[1])
local taken = {}
for at = first_new, math.min(#ARGV, first_new + room - 1) do
    redis.call('ZADD', KEYS[1], until_ms, ARGV[at])
    taken[#taken + 1] = ARGV[at]
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return taken
"""
"""KEYS: slots. ARGV: limit, lease in ms, number of names in use, these names, new names. Answers the new names that
have a slot now. Those in use have one in any case: beyond the limit if need be, so that no others are given away.
"""
