#!/usr/bin/env python3
"""Writes quants.json: random groups of each quantised type and what the PyPI package gguf restores from them.

    python3 make_quants_golden.py > quants.json

Bytes and floats are hexadecimal, little-endian. Scales are finite halves, small and large, negative and subnormal.
"""
import json

import gguf
import numpy

NUM_GROUPS = 6
# type -> byte offsets of the halves in a group
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208]}
HALVES = numpy.array([1.0, -0.0371, 3.1e-6, 1250.0, -6.0e-8, 0.333], dtype=numpy.float16)


def main():
    random = numpy.random.default_rng(11)
    golden = {}
    for name, offsets in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        group_size, group_bytes = gguf.GGML_QUANT_SIZES[kind]
        data = random.integers(0, 256, (NUM_GROUPS, group_bytes), dtype=numpy.uint8)
        for group in range(NUM_GROUPS):
            for i, offset in enumerate(offsets):
                half = HALVES[(group + i) % len(HALVES)]
                data[group, offset:offset + 2] = numpy.frombuffer(half.tobytes(), dtype=numpy.uint8)
        values = gguf.dequantize(data, kind).astype("<f4")
        assert values.size == NUM_GROUPS * group_size
        golden[name] = {"bytes": data.tobytes().hex(), "floats": values.tobytes().hex()}
    print(json.dumps(golden, indent=0))


if __name__ == "__main__":
    main()
