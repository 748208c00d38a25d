#!/usr/bin/env python3
"""Runs the checks and the benchmark of the runner on a GPU and writes their result.

    runner_results.py PROGRAMS FILE

PROGRAMS: the folder with engine_cuda_device_test and bench_runner. The model is the file that
PAGODA_SMOLLM2 names, or the one that `pagoda pull smollm2` fetched.
"""
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PULLED = pathlib.Path.home() / ".cache" / "pagoda" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def describe():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    gpu, driver = subprocess.run(query, capture_output=True, text=True).stdout.strip().split(", ")
    return {"date": datetime.date.today().isoformat(), "gpu": gpu, "driver": driver}


def check(programs):
    done = subprocess.run([programs / "engine_cuda_device_test"], capture_output=True, text=True)
    count = {what.lower(): int((re.findall(rf"\[  {what}  \] (\d+) tests?", done.stdout) or [0])[0])
             for what in ("PASSED", "FAILED", "SKIPPED")}
    if done.returncode or count["skipped"]:
        print(done.stdout, done.stderr)
    return count


def main(programs, out):
    programs, out = pathlib.Path(programs).resolve(), pathlib.Path(out)
    model = os.environ.get("PAGODA_SMOLLM2", PULLED)
    golden = ROOT / "tests" / "engine" / "golden" / "smollm2_llamacpp.json"
    result = {**describe(), "checks": check(programs)}
    measured = out.with_suffix(".measured")
    subprocess.run([programs / "bench_runner", model, golden, measured], check=True)
    result.update(json.loads(measured.read_text()))
    measured.unlink()
    out.write_text(json.dumps(result, indent=1) + "\n")
    clear = result["against_cpu"]["f16"]["steps"]["clear_steps_different"]
    return result["checks"]["passed"] == 0 or result["checks"]["failed"] > 0 or clear > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
