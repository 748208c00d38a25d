#!/usr/bin/env python3
"""Fails if a GPU result under results/ is missing or was made from other kernel sources than these.

GPU checks and benchmarks cannot run where there is no GPU. They write JSON with date, GPU, driver and
the hash of the kernel sources, which is committed; this holds the two together.
"""
import json
import pathlib
import sys

from kernel_hash import kernel_hash

EXPECTED = ("gpu_test.json", "gpu_bench.json")
FIELDS = ("date", "gpu", "driver", "kernel_hash")


def main(root):
    errors = []
    now = kernel_hash(root)
    for name in EXPECTED:
        path = root / "results" / name
        if not path.exists():
            errors.append(f"results/{name} is missing; run make {name[:-5].replace('_', '-')} on a GPU")
            continue
        result = json.loads(path.read_text())
        errors += [f"results/{name} has no {field}" for field in FIELDS if not result.get(field)]
        if result.get("kernel_hash") != now:
            errors.append(f"results/{name} is of sources {result.get('kernel_hash')}, these are {now}; "
                          f"run make {name[:-5].replace('_', '-')} on a GPU and commit the result")
        if name == "gpu_test.json" and result.get("failed") != 0:
            errors.append(f"results/{name} reports {result.get('failed')} failed cases")
    print(*errors, sep="\n", end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
