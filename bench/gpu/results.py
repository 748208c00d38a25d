#!/usr/bin/env python3
"""Runs the GPU checks or benchmarks and writes their result: results.py test|bench PROGRAMS FILE.

PROGRAMS: the folder that build.sh filled. The result says of which kernel sources it is, so that
tools/check_gpu_results.py can hold it against the tree.
"""
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

CASES_PER_FAMILY = 50_000
TOOLS = ("memcheck", "synccheck", "initcheck")
SHARES = 4  # processes of the sanitizer, side by side
FAMILIES = ("decode", "prefill", "mixed", "general", "codes", "mask")


def describe(programs):
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    gpu, driver = subprocess.run(query, capture_output=True, text=True).stdout.strip().split(", ")
    return {"date": datetime.date.today().isoformat(), "gpu": gpu, "driver": driver,
            "kernel_hash": (programs / "kernel_hash").read_text().strip()}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        print(*command, done.stdout, done.stderr, sep="\n")
    return done


def check_family(programs, family, cases):
    """Random steps against the reference in double precision."""
    done = run(programs / "check_attend", cases, 1, family, max(2, os.cpu_count() - 2))
    found = re.search(r"(\d+) cases, (\d+) failed; worst error: out ([\d.]+), lse ([\d.]+)", done.stdout)
    return {"family": family, "cases": int(found[1]) if found else 0,
            "failed": int(found[2]) if found else 1,
            "worst_out": float(found[3]) if found else None,
            "worst_lse": float(found[4]) if found else None}


def sanitize(programs, tool, family="rows", cases=None):
    """One of the sanitizer's tools on random steps; "rows": on every row of the kernel table."""
    if cases is None:
        count = run(programs / "check_attend", 1, 1, family)
        cases = int(re.search(r"(\d+) rows", count.stdout)[1])
    share = -(-cases // SHARES)
    with concurrent.futures.ThreadPoolExecutor(SHARES) as pool:
        texts = list(pool.map(lambda i: run("compute-sanitizer", "--tool", tool, programs / "check_attend",
                                            share, i * share, family).stdout, range(SHARES)))
    found = [re.search(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", text) for text in texts]
    return {"cases": share * SHARES, "steps": family,
            "errors": sum(int(m[1] or m[2]) for m in found) if all(found) else None}


def test(programs, cases):
    result = {"families": [check_family(programs, family, cases) for family in FAMILIES]}
    steps = run(programs / "check_steps", 100)
    result["steps"] = json.loads(steps.stdout.splitlines()[-1])
    result["failed"] = sum(f["failed"] for f in result["families"]) + (steps.returncode != 0)
    if (programs / "delays").exists():  # warps sleep at random where they meet
        delayed = run(programs / "delays" / "check_steps", 0, 1700)
        counts = json.loads(delayed.stdout.splitlines()[-1])
        result["delays"] = {"repeats": counts["repeats"], "failed": counts["repeats_failed"]}
        result["failed"] += delayed.returncode != 0
    if shutil.which("compute-sanitizer"):
        result["sanitizer"] = {tool: sanitize(programs, tool) for tool in TOOLS}
        for family, own in (("general", programs), ("decode", programs / "racecheck")):
            if (own / "check_attend").exists():
                result["sanitizer"][f"racecheck of {family}"] = sanitize(own, "racecheck", family, 8)
        result["failed"] += sum(found["errors"] != 0 for found in result["sanitizer"].values())
    if (programs / "check_capi").exists():
        capi = run(programs / "check_capi", 100)
        result["interface"] = capi.stdout.splitlines()[-1]
        result["host_microseconds"] = dict(re.findall(r"host time of (.*): ([\d.]+) us", capi.stdout))
        result["failed"] += capi.returncode != 0
    return result


def bench(programs, out):
    own, peers = out.with_suffix(".own"), out.with_suffix(".peers")
    print(run(programs / "bench_attend", own).stdout)
    others = run(sys.executable, pathlib.Path(__file__).parent / "peers.py", peers)
    result = {"peers": {}, "cases": json.loads(own.read_text())["cases"]}
    if others.returncode == 0:
        result.update(json.loads(peers.read_text()))
        for case in result["cases"]:
            unit = "tb_s" if case["name"].startswith("decode") else "tflop_s"
            case["percent_of_peak"] = round(100 * case[unit] / result["ceilings"][unit], 1)
    for path in (own, peers):
        path.unlink(missing_ok=True)
    return result


def main(what, programs, out, cases=CASES_PER_FAMILY):
    programs, out = pathlib.Path(programs).resolve(), pathlib.Path(out)
    out.parent.mkdir(exist_ok=True)
    result = describe(programs)
    result.update(test(programs, int(cases)) if what == "test" else bench(programs, out))
    out.write_text(json.dumps(result, indent=1) + "\n")
    return result.get("failed", 0) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
