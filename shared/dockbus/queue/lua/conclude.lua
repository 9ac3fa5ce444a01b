-- Notes how an attempt will end, before what it leaves is cleared away: whoever has to go on from here does
-- only the rest. Answers 1 or 0. ARGV: time, ID, token, how, value

if not is_current(ARGV[2], ARGV[3]) then return 0 end
set(ARGV[2], 'how', ARGV[4], 'outcome', ARGV[5])
return 1
