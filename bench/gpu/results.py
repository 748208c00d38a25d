#!/usr/bin/env python3
"""Runs the GPU checks or benchmarks and writes their result: results.py test|bench PROGRAMS FILE.

PROGRAMS: the folder that build.sh filled. The result says of which kernel sources it is, so that
tools/check_gpu_results.py can hold it against the tree.
"""
import concurrent.futures
import datetime
import json
import pathlib
import re
import shutil
import subprocess
import sys

CASES_PER_FAMILY = 50_000
FAMILIES = ("decode", "prefill", "mixed", "general", "codes", "mask")
PROCESSES = 10  # the checks wait for the host more than for the device


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
    """Random steps against the reference in double precision, spread over processes by seed."""
    share = -(-cases // PROCESSES)
    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
        runs = list(pool.map(lambda i: run(programs / "check_attend", share, 1 + i * share, family),
                             range(PROCESSES)))
    counts = [re.search(r"(\d+) cases, (\d+) failed; worst error: out ([\d.]+), lse ([\d.]+)",
                        done.stdout) for done in runs]
    found = [match.groups() for match in counts if match]
    return {"family": family, "cases": sum(int(m[0]) for m in found),
            "failed": sum(int(m[1]) for m in found) + PROCESSES - len(found),
            "worst_out": max((float(m[2]) for m in found), default=None),
            "worst_lse": max((float(m[3]) for m in found), default=None)}


def sanitize(programs, tool):
    done = run("compute-sanitizer", "--tool", tool, programs / "check_attend", 60, 1)
    found = re.search(r"ERROR SUMMARY: (\d+) errors", done.stdout)
    return {"cases": 60, "errors": int(found.group(1)) if found else None}


def test(programs, cases):
    result = {"families": [check_family(programs, family, cases) for family in FAMILIES]}
    steps = run(programs / "check_steps", 100)
    result["steps"] = json.loads(steps.stdout.splitlines()[-1])
    result["failed"] = sum(f["failed"] for f in result["families"]) + (steps.returncode != 0)
    if shutil.which("compute-sanitizer"):
        result["sanitizer"] = {tool: sanitize(programs, tool) for tool in ("memcheck", "synccheck", "initcheck")}
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
