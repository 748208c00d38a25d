"""Writes minilm.json: token ids and embeddings of texts by all-MiniLM-L6-v2, computed in double.

    pip install numpy tokenizers
    python3 make_minilm_golden.py FOLDER > minilm.json

FOLDER is what `pagoda pull minilm` leaves. Token ids come from the tokenizers package, embeddings from the
formulas of BERT below, in numpy, with nothing in common with the runner. Embeddings are rounded to 6 digits.
"""
import json
import math
import pathlib
import struct
import sys

import numpy as np
from tokenizers import Tokenizer

MAX_TOKENS = 256
TEXTS = [
    "That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day",
    "", " ", "a", "The quick brown fox jumps over the lazy dog.", "the quick brown fox, jumps over: the LAZY dog!!",
    "Attention is all you need: queries, keys and values over a paged cache.",
    "naïve café résumé Ångström ÜBER Straße İstanbul", "état ﬁn ½ ①", "Привет, мир! Ёлка", "你好世界 hello 東京タワー",
    "こんにちは がぎぐ", "한국어 문장", "नमस्ते दुनिया", "مرحبا بالعالم", "🦙🫠 emoji 👩‍👩‍👧 family",
    "tab\tnew\nline\rreturn\u00a0nbsp\u2003em\u3000ideographic\u200bzero\u00adsoft", "nul\u0000 and \ufffd and \u0007 bell",
    "don't can't won't it's", "$100.50 + 20% = #value @user_name a_b", "«quoted» “curly” — dash … ellipsis",
    "x" * 101, "x" * 100, "supercalifragilisticexpialidocious antidisestablishmentarianism", "ΣΊΣΥΦΟΣ σίσυφος",
    "e\u0301 combining \u0300", "C++20/CUDA, v0.1-rc2", "def f(x): return x**2  # code", "1 22 333 4444 1e-5 3.14159",
    " ".join(["long text with many words that goes beyond the limit of the model"] * 40),
]


def load(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + size + begin:8 + size + end], "<f4").reshape(entry["shape"]).astype(float)
    return tensors


def layer_norm(x, w, name, epsilon):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def embed(ids, w, config):
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:len(ids)]
    x = layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm", epsilon)
    erf = np.vectorize(math.erf)
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{i}."
        q, k, v = (linear(x, w, name + f"attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
                   for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (weights / weights.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = layer_norm(x + linear(attended, w, name + "attention.output.dense"), w, name + "attention.output.LayerNorm",
                       epsilon)
        inner = linear(x, w, name + "intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = layer_norm(x + linear(inner, w, name + "output.dense"), w, name + "output.LayerNorm", epsilon)
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def main(folder):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    w = load(folder / "model.safetensors")
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": ids, "embedding": [round(value, 6) for value in embed(ids, w, config)]})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


main(sys.argv[1])
