#!/usr/bin/env python3
"""Loses a rank of four, by SIGKILL and by SIGSTOP, at five points of a step. Fails unless every other
rank gets an error that names the lost one within 5 s. Prints the times.

Other work on the machine may keep a process waiting for its turn, so a loss that was known too late is tried
again, twice at most; one that was not known, or of another rank, is wrong at once.
"""
import os
import re
import signal
import sys

from mpirun import mpirun, skip_without_mpirun

POINTS = ("before the gather of queries", "after a gather", "before the reduction of states",
          "after the reduction", "between steps")
NUM_RANKS, VICTIM = 4, 2
LIMIT_S = 5.0
TRIES = 3


def lose(program, name, point):
    """Whether all others knew it, and whether in time."""
    number = getattr(signal, name)
    run = mpirun(NUM_RANKS, program, "lose", str(VICTIM), str(int(number)), str(point))
    processes, known, output = {}, {}, []
    for line in run.stdout:
        output.append(line)
        if found := re.search(r"rank (\d+) is process (\d+)", line):
            processes[int(found[1])] = int(found[2])
        if found := re.search(r"rank (\d+) knew after ([\d.]+) s, status 7: rank (\d+) did not", line):
            known[int(found[1])] = (float(found[2]), int(found[3]))
        if len(known) == NUM_RANKS - 1:
            break
    for process in processes.values():
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
    run.kill()
    run.wait()
    others = set(range(NUM_RANKS)) - {VICTIM}
    knew = set(known) == others and all(lost == VICTIM for _, lost in known.values())
    in_time = all(seconds < LIMIT_S for seconds, _ in known.values())
    times = ", ".join(f"{known[r][0]:.2f}" for r in sorted(known))
    print(f"{name} {POINTS[point]}: {times} s {'WRONG' if not knew else '' if in_time else 'late'}", flush=True)
    if not knew:
        print("".join(output))
    return knew, in_time


def lose_in_time(program, name, point):
    for _ in range(TRIES):
        knew, in_time = lose(program, name, point)
        if not knew or in_time:
            return knew
    return False


def main(program):
    skip_without_mpirun()
    cases = mpirun(NUM_RANKS, program, "cases", "40")
    output, _ = cases.communicate(timeout=120)
    good = cases.returncode == 0 and output.count(" 0 failed") == NUM_RANKS
    print(f"40 random cases on {NUM_RANKS} processes: {'right' if good else 'WRONG'}", flush=True)
    if not good:
        print(output)
    for name in ("SIGKILL", "SIGSTOP"):
        for point in range(len(POINTS)):
            good = lose_in_time(program, name, point) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
