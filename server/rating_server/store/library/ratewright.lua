#!lua name=ratewright_1

-- The functions of the shard log, version 1 (docs/reference/protocol.md).
--
-- A library of this name never changes: another behaviour gets another version number, and old
-- versions stay loaded until all servers have moved on. Redis does not roll a function back, so
-- each validates everything before its first write. Versions, instants and counters travel as
-- decimal strings, because Lua numbers are doubles; they are compared as strings.

local EMPTY_TOKEN = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local CLOCK_TOLERANCE_US = 5000000
-- HSET takes pairs through unpack(), which fails beyond about 8,000 values.
local SLICE = 1000

-- Whether the canonical non-negative decimal a is greater than b.
local function greater(a, b)
  if #a ~= #b then
    return #a > #b
  end
  return a > b
end

local function redis_now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function decimal(number)
  return string.format('%.0f', number)
end

local function read_head(key)
  local head = redis.call('HMGET', key, 'v', 't', 'now')
  return head[1] or '0', head[2] or EMPTY_TOKEN, head[3] or '0'
end

local function expect(condition, message)
  if not condition then
    error({err = 'ERR ratewright: ' .. message})
  end
end

-- KEYS: log, head, turn. ARGV: version, token, next version, new token, now, boot, entry.
-- Reply: outcome, version, token of the head after the call, Redis TIME in microseconds.
local function commit(keys, args)
  expect(#keys == 3 and #args == 7, 'commit takes 3 keys and 7 arguments')
  local version, token, next_version, new_token = args[1], args[2], args[3], args[4]
  local now, boot, entry = args[5], args[6], args[7]
  expect(#token == 16 and #new_token == 16, 'a token has 16 bytes')
  expect(greater(next_version, version), 'versions rise')
  local head_version, head_token, head_now = read_head(keys[2])
  local redis_now = redis_now_us()
  local outcome = 'OK'
  local turn = redis.call('GET', keys[3])
  if turn and turn ~= boot then
    outcome = 'YIELD' -- P14
  elseif head_version ~= version or head_token ~= token then
    outcome = 'MOVED' -- P1
  elseif greater(now, head_now) and greater(now, decimal(redis_now + CLOCK_TOLERANCE_US)) then
    outcome = 'CLOCK' -- P11
  end
  if outcome ~= 'OK' then
    return {outcome, head_version, head_token, decimal(redis_now)}
  end
  redis.call('XADD', keys[1], next_version .. '-0', 'p', token, 't', new_token, 'e', entry)
  local latest = greater(now, head_now) and now or head_now
  redis.call('HSET', keys[2], 'v', next_version, 't', new_token, 'now', latest)
  return {'OK', next_version, new_token, decimal(redis_now)}
end

-- KEYS: head, touch. ARGV: version, token, now, '1' to write the touch key if the head is as named.
-- Reply as of commit.
local function check(keys, args)
  expect(#keys == 2 and #args == 4, 'check takes 2 keys and 4 arguments')
  local version, token, now, touch = args[1], args[2], args[3], args[4]
  local head_version, head_token, head_now = read_head(keys[1])
  local redis_now = redis_now_us()
  local outcome = 'OK'
  if head_version ~= version or head_token ~= token then
    outcome = 'MOVED' -- P1
  elseif greater(now, head_now) and greater(now, decimal(redis_now + CLOCK_TOLERANCE_US)) then
    outcome = 'CLOCK' -- P11
  elseif touch == '1' then
    redis.call('SET', keys[2], now) -- P6: the WAIT that follows needs a write of this connection
  end
  return {outcome, head_version, head_token, decimal(redis_now)}
end

local function log_holds(log, head, version, token)
  local head_version, head_token = read_head(head)
  if head_version == version then
    return head_token == token
  end
  local id = version .. '-0'
  local found = redis.call('XRANGE', log, id, id)
  if #found == 0 then
    return false
  end
  local fields = found[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 't' then
      return fields[i + 1] == token
    end
  end
  return false
end

local function set_fields(key, args, first, count, version)
  for start = first, first + 2 * count - 1, 2 * SLICE do
    local stop = math.min(start + 2 * SLICE, first + 2 * count) - 1
    redis.call('HSET', key, unpack(args, start, stop))
  end
  redis.call('HSET', key, 'v', version)
end

-- KEYS: log, head, fold, then the counter hashes. ARGV: version, token, cursor, '1' for the last
-- call of the round, then for each hash: expected version, number of fields, field, value, ….
-- Reply: '1' if done, the mark F, the cursor.
--
-- The cursor only ever rises (P8). A hash that already stands at the fold's version or later is
-- left alone: it reflects all that the fold would write. One that stands elsewhere voids the call,
-- because F may not pass a hash that lags.
local function fold(keys, args)
  expect(#keys >= 3 and #args >= 4, 'fold takes at least 3 keys and 4 arguments')
  local version, token, cursor, last = args[1], args[2], args[3], args[4]
  local standing = redis.call('HMGET', keys[3], 'mark', 'cursor')
  local mark, at = standing[1] or '0', standing[2] or '0'
  local void = {'0', mark, at}
  if at ~= cursor or not log_holds(keys[1], keys[2], version, token) then
    return void -- P7, P8
  end
  local writes = {}
  local position = 5
  for i = 4, #keys do
    local expected, count = args[position], tonumber(args[position + 1])
    expect(expected and count and position + 1 + 2 * count <= #args, 'fold arguments are cut')
    local current = redis.call('HGET', keys[i], 'v') or '0'
    if greater(version, current) then
      if current ~= expected then
        return void -- P7
      end
      writes[#writes + 1] = {keys[i], position + 2, count}
    end
    position = position + 2 + 2 * count
  end
  expect(position == #args + 1, 'fold has arguments left over')
  for _, write in ipairs(writes) do
    set_fields(write[1], args, write[2], write[3], version)
  end
  at = decimal(tonumber(cursor) + 1)
  if last == '1' and greater(version, mark) then
    mark = version
  end
  redis.call('HSET', keys[3], 'mark', mark, 'cursor', at)
  return {'1', mark, at}
end

-- KEYS: log, head, fold. ARGV: version, token, version and token of a snapshot.
-- Reply: '1' if done, the mark F.
--
-- Drops the entries before the version; the entry itself stays, as the join to the archive. Only
-- what every hash reflects may go (P8), and only where a snapshot of this very log, at the version
-- or later, is in the archive (P10). The caller keeps a call to about 2 MB (P15).
local function trim(keys, args)
  expect(#keys == 3 and #args == 4, 'trim takes 3 keys and 4 arguments')
  local version, token, snapshot_version, snapshot_token = args[1], args[2], args[3], args[4]
  local mark = redis.call('HGET', keys[3], 'mark') or '0'
  if greater(version, mark) or greater(version, snapshot_version)
    or not log_holds(keys[1], keys[2], version, token)
    or not log_holds(keys[1], keys[2], snapshot_version, snapshot_token) then
    return {'0', mark}
  end
  redis.call('XTRIM', keys[1], 'MINID', version .. '-0')
  return {'1', mark}
end

-- KEYS: fold, then counter hashes. Reply: the mark F, the cursor, the version of each hash (P8).
local function standing(keys)
  local state = redis.call('HMGET', keys[1], 'mark', 'cursor')
  local reply = {state[1] or '0', state[2] or '0'}
  for i = 2, #keys do
    reply[i + 1] = redis.call('HGET', keys[i], 'v') or '0'
  end
  return reply
end

redis.register_function('rw1_commit', commit)
-- Without allow-oom these would be refused at maxmemory: nothing would ever free it, and answers
-- that need no entry could not leave (P15).
redis.register_function{function_name = 'rw1_check', callback = check, flags = {'allow-oom'}}
redis.register_function{function_name = 'rw1_fold', callback = fold, flags = {'allow-oom'}}
redis.register_function{function_name = 'rw1_trim', callback = trim, flags = {'allow-oom'}}
redis.register_function{
  function_name = 'rw1_standing', callback = standing, flags = {'no-writes', 'allow-oom'}
}
