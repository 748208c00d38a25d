#!/usr/bin/env python3
"""What others reach on the shapes of bench_attend, and the ceilings of the chip: peers.py FILE.

Ceilings: a bf16 product of 8192^3 and a copy inside the device, on random data. Peers: cuDNN and
FlashAttention-2 through torch, FlexAttention, FlashAttention-3 if it can be imported. Timed as
bench_attend times prompts: one launch at a time behind a fill that empties the cache, the median.
FlashAttention-3 over pages of 16 tokens is timed as bench_attend times decoding: a graph of one launch per
layer over at least 400 MB of caches, pages shuffled.
"""
import json
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from triton.testing import do_bench

SHAPES = {"prefill_dense_16x1k": (16, 1024, True), "prefill_dense_8x2k": (8, 2048, True),
          "prefill_dense_4x4k": (4, 4096, True), "prefill_dense_2x8k": (2, 8192, True),
          "prefill_dense_1x16k": (1, 16384, True), "prefill_full_8x2k": (8, 2048, False),
          "prefill_full_1x16k": (1, 16384, False)}
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def milliseconds(call):
    return do_bench(call, warmup=50, rep=200, return_mode="median")


def ceilings():
    a, b = random(8192, 8192), random(8192, 8192)
    source = random(1 << 31)
    target = torch.empty_like(source)
    return {"tflop_s": 2 * 8192**3 / milliseconds(lambda: a @ b) * 1e-9,
            "tb_s": 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) * 1e-9}


def through_torch(backend):
    def make(q, k, v, causal):
        def call():
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
        return call
    return make


def flex(q, k, v, causal):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    length = q.shape[2]
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length) if causal else None
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda: compiled(q, k, v, block_mask=mask, enable_gqa=True)


def flash3(q, k, v, causal):
    from flash_attn_interface import flash_attn_func
    q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    return lambda: flash_attn_func(q, k, v, causal=causal)


PAGE, LEAST_BYTES = 16, 400e6
PAGED = {"decode_1x1k": [(1, 1024)], "decode_1x8k": [(1, 8192)], "decode_1x128k": [(1, 131072)],
         "decode_16x8k": [(1, 8192)] * 16, "decode_64x1k": [(1, 1024)] * 64, "decode_64x8k": [(1, 8192)] * 64,
         "decode_256x512": [(1, 512)] * 256, "decode_256x2k": [(1, 2048)] * 256,
         "prefill_page16_4x4k": [(4096, 4096)] * 4, "prefill_page16_2k_on_16k": [(2048, 18432)],
         "prefill_page16_8x512_on_4k": [(512, 4608)] * 8, "prefill_page16_1x512": [(512, 512)],
         "mixed_2k_on_8k_63x4k": [(2048, 10240)] + [(1, 4096)] * 63}


def paged_microseconds(requests):
    """requests: (query tokens, tokens with keys) of each."""
    from flash_attn_interface import flash_attn_with_kvcache
    pages = [-(-keys // PAGE) for _, keys in requests]
    layers = max(1, round(LEAST_BYTES / (4 * sum(pages) * PAGE * KV_HEADS * HEAD_DIM) + 0.5))
    caches = [[random(sum(pages), PAGE, KV_HEADS, HEAD_DIM) for _ in range(2)] for _ in range(layers)]
    order = torch.randperm(sum(pages), device="cuda", dtype=torch.int32)
    table = torch.zeros(len(requests), max(pages), device="cuda", dtype=torch.int32)
    first = 0
    for row, count in enumerate(pages):
        table[row, :count] = order[first:first + count]
        first += count
    lengths = [q for q, _ in requests]
    starts = torch.tensor([sum(lengths[:i]) for i in range(len(lengths) + 1)], device="cuda",
                          dtype=torch.int32)
    query = random(sum(lengths), HEADS, HEAD_DIM)
    seq_lens = torch.tensor([keys for _, keys in requests], device="cuda", dtype=torch.int32)

    def step():
        for keys, values in caches:
            flash_attn_with_kvcache(query, keys, values, cache_seqlens=seq_lens, page_table=table,
                                    cu_seqlens_q=starts, max_seqlen_q=max(lengths), causal=True)
    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return milliseconds(graph.replay) * 1e3 / layers


PEERS = {"cudnn": through_torch(SDPBackend.CUDNN_ATTENTION),
         "fa2": through_torch(SDPBackend.FLASH_ATTENTION), "flex": flex, "fa3": flash3}


def measure(make, batch, length, causal):
    q = random(batch, HEADS, length, HEAD_DIM)
    k, v = random(batch, KV_HEADS, length, HEAD_DIM), random(batch, KV_HEADS, length, HEAD_DIM)
    pairs = length * (length + 1) / 2 if causal else length * length
    return 4 * batch * HEADS * HEAD_DIM * pairs / milliseconds(make(q, k, v, causal)) * 1e-9


def main(path):
    result = {"torch": torch.__version__, "ceilings": ceilings(), "peers": {}, "absent": {}}
    for name, make in PEERS.items():
        try:
            result["peers"][name] = {case: measure(make, *shape) for case, shape in SHAPES.items()}
        except Exception as error:  # a peer that is not there is no failure of ours
            result["absent"][name] = str(error).splitlines()[0][:120]
    if "fa3" in result["peers"]:
        result["fa3_paged_us"] = {case: paged_microseconds(requests) for case, requests in PAGED.items()}
    with open(path, "w") as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
