#!/usr/bin/env python3
"""Prints the hash of all sources that a CUDA kernel is made of. GPU results carry it."""
import hashlib
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


def kernel_sources(root):
    """The units that nvcc compiles and what they include of this project."""
    cuda = root / "src" / "cuda"
    waiting = [cuda / "instantiate.cu", *(cuda / "kernels").glob("*.cu")]
    found = set()
    while waiting:
        path = waiting.pop().resolve()
        if path in found:
            continue
        found.add(path)
        waiting += [path.parent / name for name in INCLUDE.findall(path.read_text())]
    return sorted(found)


def kernel_hash(root):
    digest = hashlib.sha256()
    for path in kernel_sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(kernel_hash(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
