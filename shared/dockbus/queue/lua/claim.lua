-- Whether an attempt still is its job's, and notes on which Engine it works. Answers 1 or 0.
-- ARGV: time, ID, token, Engine (empty: none)

if not is_current(ARGV[2], ARGV[3]) then return 0 end
if ARGV[4] ~= '' then set(ARGV[2], 'engine', ARGV[4]) end
return 1
