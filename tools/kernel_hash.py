#!/usr/bin/env python3
"""Prints the hash of all sources that a CUDA kernel is made of. GPU results carry it."""
import hashlib
import pathlib
import sys

FOLDERS = ("src/cuda", "src/core")
CODE = {".h", ".cuh", ".cu", ".cpp"}


def kernel_hash(root):
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in CODE:
                digest.update(f"{path.relative_to(root)}\0{len(path.read_bytes())}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(kernel_hash(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
