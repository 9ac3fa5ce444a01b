# Says hello for a few seconds, keeping a CPU a little busy so that the metrics have something to show.
for i in 1 2 3 4 5; do
  echo "hello $i from $(hostname)"
  head -c 20000000 /dev/zero | md5sum > /dev/null
  sleep 1
done
echo "a last word on stderr" >&2
