-- Appends to a job's log, for its current attempt only. Answers 1 or 0.
-- ARGV: time, ID, token, then the lines as `write_log` has them

if not is_current(ARGV[2], ARGV[3]) then return 0 end
write_log(ARGV[2], ARGV[3], 4)
return 1
