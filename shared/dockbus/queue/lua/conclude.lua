-- Notes how an attempt will end, before what it leaves is cleared away: whoever has to go on from here does
-- only the rest. The last lines of its log come with it. Answers 1 or 0.
-- ARGV: time, ID, token, how, value, then the lines as `write_log` has them

if not is_current(ARGV[2], ARGV[3]) then return 0 end
write_log(ARGV[2], ARGV[3], 6)
set(ARGV[2], 'how', ARGV[4], 'outcome', ARGV[5])
return 1
