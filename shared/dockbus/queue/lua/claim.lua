-- Whether an attempt still is its job's, and notes on which Engine it works. Answers 1 or 0.
-- ARGV: time, ID, token, Engine (empty: none), whether it may begin anew elsewhere ('1') if that Engine is lost

if not is_current(ARGV[2], ARGV[3]) then return 0 end
if ARGV[4] ~= '' then
  set(ARGV[2], 'engine', ARGV[4])
  -- A job whose order names an Engine is in that Engine's queue from the first.
  if ARGV[5] == '1' and not string.find(get(ARGV[2], 'origin'), '@', 1, true) then set(ARGV[2], 'anew', '1') end
end
return 1
