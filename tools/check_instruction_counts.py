#!/usr/bin/env python3
"""Compares the instructions that calls of the CPU backend execute with those that are committed.

    check_instruction_counts.py results/instruction_counts.json COUNT_INSTRUCTIONS [--write]

More instructions for the same call are a regression that no clock has to be asked about, and fewer
are a gain that is to be recorded. The counts are of one compiler; with another, or where processes
may not be traced, the test is skipped (exit 77). Cases of an instruction set that this machine lacks
are kept as they are.
"""
import json
import pathlib
import subprocess
import sys

TOLERANCE = 0.02
SKIPPED = 77


def differences(before, now):
    for case in sorted(before.keys() | now.keys()):
        if case not in before:
            yield f"{case} has no committed count"
        elif case in now and abs(now[case] - before[case]) > TOLERANCE * before[case]:
            yield f"{case}: {now[case]} instructions, {before[case]} are committed"
        elif case not in now and case.split("/")[0] in {other.split("/")[0] for other in now}:
            yield f"{case} is gone"


def main(path, program, *options):
    path = pathlib.Path(path)
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    if run.returncode == SKIPPED:
        print("processes may not be traced here")
        return SKIPPED
    run.check_returncode()
    now = json.loads(run.stdout)
    if "--write" in options:
        path.write_text(run.stdout)
        return 0
    before = json.loads(path.read_text())
    if before["compiler"] != now["compiler"]:
        print(f"the counts are of {before['compiler']}, this is {now['compiler']}")
        return SKIPPED
    print(f"{len(now['counts'])} cases of {len(before['counts'])} run here")
    found = list(differences(before["counts"], now["counts"]))
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        print(f"if that is meant: tools/check_instruction_counts.py {path} {program} --write, and commit it")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
