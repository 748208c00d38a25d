#!/usr/bin/env python3
"""Runs the CPU benchmarks and writes their result: results.py CPU_BENCH FILE [PART ...].

Each row of the table is a best and a median of several repetitions, with the limits of the machine
measured before each part. Parts that are named replace theirs in the file; the others stay.

Give the program the machine for itself as far as possible. On a shared one only ratios within a part
mean something, and PAGODA_BENCH_THREADS=1 alone gives figures that can be repeated: one thread is
timed by the processor time that it got. Targets are of all threads of the machine.
"""
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

REPETITIONS = 7
LIMITS = "machine/(read|gemm|tiles)"

# Part -> rows: benchmark, what is to be reached, and the best that was seen of others. TFLOP/s for
# prefill, GB/s of cache bytes for the rest.
PARTS = {
    "prefill": [
        ("prefill/512/bf16", 1.8, 0.84), ("prefill/1024/bf16", 2.6, 1.11),
        ("prefill/2048/bf16", 3.1, 1.26), ("prefill/8192/bf16", 3.5, 1.31),
        ("prefill/8x256/bf16", 1.6, 0.67), ("prefill/512_on_32k/bf16", 3.0, 1.14),
        ("prefill/2048/bf16/softcap", 2.2, 0.25), ("prefill/2048/bf16/alibi", 2.2, 0.62),
        ("prefill/2048/bf16/window512_sinks", 2.2, None)],
    "vectors": [
        ("prefill/2048/f32/avx512", 0.34, 0.28), ("prefill/2048/bf16/avx512", 0.34, 0.28),
        ("decode/1x4096/bf16/avx512", 28, 11.5)],
    "decode": [
        ("decode/1x4096/bf16", 28, 29), ("decode/16x4096/bf16", 28, 25),
        ("decode/1x4096/bf16/4queries", 27, 10.9), ("decode/1x512/bf16/warm", 130, 124),
        ("decode/1x4096/bf16/warm", 55, 53)],
    "formats": [
        *((f"decode/{shape}/bf16/kv_{kv}", 27, 13.3 if kv == "fp8" else None)
          for kv in ("int8", "int8_channel_v", "int8_keys", "fp8", "fp8_token")
          for shape in ("1x4096", "16x4096")),
        ("decode/1x4096/bf16/kv_int8/4queries", None, None)],
    "write": [
        ("update_cache/512/bf16", 22, 10), ("update_cache/512/bf16/kv_fp8", 12, 2),
        ("update_cache/512/bf16/kv_fp8_token", 12, None), ("update_cache/512/bf16/kv_int8", 12, None),
        ("update_cache/512/bf16/kv_int8_channel_v", 12, None),
        ("update_cache/512/bf16/kv_int8_keys", 12, None)],
    "dims": [(f"{what}/bf16/d{dim}", None, None) for what in ("prefill/1024", "decode/1x4096")
             for dim in (64, 80, 96, 128, 192, 256)],
    "groups": [(f"{what}/bf16/group{group}", None, None)
               for what in ("prefill/1024", "decode/1x4096")
               for group in (1, 3, 4, 5, 7, 8, 12, 17, 24, 32)],
}


def cpu_model():
    found = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"


def measure(program, names):
    """Benchmark name -> its rates in 1e9 a second, one of each repetition."""
    wanted = "|".join([LIMITS, *map(re.escape, names)])
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([program, f"--benchmark_filter=^({wanted})(/real_time)?$",
                        f"--benchmark_repetitions={REPETITIONS}", "--benchmark_min_time=0.05",
                        f"--benchmark_out={out.name}", "--benchmark_out_format=json"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        runs = json.load(open(out.name))["benchmarks"]
    rates = {}
    for run in runs:
        if run["run_type"] == "iteration":
            name = run["run_name"].removesuffix("/real_time")
            rates.setdefault(name, []).append(run.get("Bytes", run.get("FLOP", 0)) / 1e9)
    return rates


def summary(name, rates, target=None, peer=None):
    unit = "TFLOP/s" if name.startswith(("prefill", "machine/gemm", "machine/tiles")) else "GB/s"
    scale = 1e3 if unit == "TFLOP/s" else 1
    rates = sorted(rate / scale for rate in rates)
    row = {"name": name, "unit": unit, "best": round(rates[-1], 3),
           "median": round(rates[len(rates) // 2], 3)}
    row.update({key: value for key, value in (("target", target), ("peer", peer)) if value})
    return row


def run_part(program, rows):
    rates = measure(program, [name for name, *_ in rows])
    return {"limits": [summary(name, rates.pop(name)) for name in sorted(rates)
                       if name.startswith("machine/")],
            "rows": [summary(name, rates[name], *rest) for name, *rest in rows if name in rates]}


def show(parts):
    print(f"{'':44}{'best':>8}{'median':>8}{'target':>8}{'peer':>8}")
    for part in parts.values():
        for row in part["limits"] + part["rows"]:
            numbers = "".join(f"{row.get(key, ''):>8}" for key in ("best", "median", "target", "peer"))
            print(f"{row['name']:44}{numbers}  {row['unit']}")


def main(program, out, *names):
    out = pathlib.Path(out)
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.exit(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    threads = int(os.environ.get("PAGODA_BENCH_THREADS", os.cpu_count()))
    result = {"date": datetime.date.today().isoformat(), "cpu": cpu_model(), "threads": threads,
              "timed_by": "processor time" if threads == 1 else "clock", "parts": {}}
    if out.exists() and names:
        before = json.loads(out.read_text())
        if before["threads"] != threads:
            sys.exit(f"{out} is of {before['threads']} threads; run all parts, or as many threads")
        result["parts"] = before["parts"]
    for name in names or PARTS:
        result["parts"][name] = run_part(program, PARTS[name])
    out.write_text(json.dumps(result, indent=1) + "\n")
    show({name: result["parts"][name] for name in names or PARTS})


if __name__ == "__main__":
    main(*sys.argv[1:])
