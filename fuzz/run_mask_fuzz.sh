#!/bin/sh
# Runs mask_fuzz in several processes with different seeds and adds up what they did. Beside this
# script lie mask_fuzz_asan and mask_fuzz_ubsan (every fourth process is of the former, which is
# slower), and optionally a folder `corpus` that each process begins with.
#
#   run.sh N_PROCESSES RUNS_EACH [SECONDS]     stops at the runs or the seconds (540), whichever is first
set -u
here=$(cd "$(dirname "$0")" && pwd)
processes=${1:?number of processes} runs=${2:?runs of each} seconds=${3:-540}
work=$(mktemp -d)
export ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=4

i=0
while [ $i -lt "$processes" ]; do
  kind=ubsan
  [ $((i % 4)) -eq 3 ] && kind=asan
  mkdir -p "$work/$i/corpus" "$here/corpus"
  (cd "$work/$i" && exec "$here/mask_fuzz_$kind" -seed=$((i + 1 + $(date +%s) % 100000 * 64)) -runs="$runs" \
    -max_total_time="$seconds" -max_len=200 -entropic=0 -reload=0 -verbosity=1 -print_final_stats=1 \
    -rss_limit_mb=4096 -timeout=20 corpus "$here/corpus" >log 2>&1) &
  i=$((i + 1))
done
wait

total=0 findings=0 i=0
while [ $i -lt "$processes" ]; do
  done_=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$i/log")
  speed=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$work/$i/log")
  found=$(find "$work/$i" -maxdepth 1 \( -name 'crash-*' -o -name 'timeout-*' -o -name 'oom-*' -o -name 'leak-*' \
    -o -name 'slow-unit-*' \) | wc -l)
  # A process that ended otherwise than by its own count is a finding, whatever it left.
  [ -z "$done_" ] && [ "$found" -eq 0 ] && found=1
  echo "process $i: ${done_:-0} executions, ${speed:-0} per second, $found findings"
  if [ "$found" -gt 0 ]; then
    grep -v '^#' "$work/$i/log" | tail -40
    for file in "$work/$i"/crash-* "$work/$i"/timeout-* "$work/$i"/oom-* "$work/$i"/leak-*; do
      [ -f "$file" ] && echo "$(basename "$file") $(base64 -w0 "$file")"
    done
  fi
  total=$((total + ${done_:-0})) findings=$((findings + found)) i=$((i + 1))
done
echo "total: $total executions in $processes processes, $findings findings"
rm -rf "$work"
[ "$findings" -eq 0 ]
