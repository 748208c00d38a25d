#!/usr/bin/env python3
"""`pagoda run` under mpirun, sharing keys or heads, writes what one process writes. Skips without the model."""
import pathlib
import sys

from mpirun import SKIPPED, mpirun, skip_without_mpirun


def main(program, folder):
    model = pathlib.Path(folder) / "data/models/stories260K/stories260K.f32.gguf"
    if not model.exists():
        print(f"skipped: there is no {model}")
        return SKIPPED
    skip_without_mpirun()
    arguments = ["run", "--model", str(model), "--prompt", "Once upon a time", "--temperature", "0",
                 "--max-tokens", "150", "--threads", "1", "--quiet", "--page-size", "16"]
    alone, _ = mpirun(1, program, *arguments).communicate(timeout=60)
    good = len(alone) > 200
    for ranks, interleave in ((1, 1), (2, 1), (2, 16), (3, 8), (4, 2)):
        run = mpirun(ranks, program, *arguments, "--context-parallel", "--interleave", str(interleave))
        text, _ = run.communicate(timeout=120)
        same = run.returncode == 0 and text == alone
        good = good and same
        print(f"{ranks} processes, runs of {interleave}: {'the same text' if same else 'WRONG: ' + text}")
    for ranks in (2, 4):
        run = mpirun(ranks, program, *arguments, "--tensor-parallel")
        text, _ = run.communicate(timeout=120)
        same = run.returncode == 0 and text == alone
        good = good and same
        print(f"{ranks} processes with a share of the heads: {'the same text' if same else 'WRONG: ' + text}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
