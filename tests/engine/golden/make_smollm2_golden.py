#!/usr/bin/env python3
"""Writes smollm2_llamacpp.json: greedy tokens and top logits of SmolLM2-135M-Instruct by llama.cpp.

    python3 make_smollm2_golden.py SmolLM2-135M-Instruct.Q4_1.gguf > smollm2_llamacpp.json

Needs the PyPI package llama-cpp-python. For every prompt: its token ids, the greedy continuation, the
margin between the two largest logits at every step, and the eight largest logits of the first step.
A comparison stops at the first step whose margin is below its margin rule: llama.cpp rounds the
activations to 8 bits before each product with a quantised weight, so closer calls than that noise
say nothing.
"""
import json
import sys

import llama_cpp
import numpy

NUM_TOKENS = 48

SHORT = [
    "Hello",
    "The capital of France is",
    "1, 2, 3, 4, 5, 6,",
    "Once upon a time there was a small boat that",
    "def fibonacci(n):\n",
    "Water boils at 100 degrees Celsius because",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is 12 + 30?\nA:",
    "The three primary colours are",
    "Pagodas are towers with many roofs. They",
    "In the year 2050, people will",
    "List of planets: Mercury, Venus,",
]
CHAT = [
    "What is the capital of Italy?",
    "Write a haiku about rain.",
    "Explain in two sentences why the sky is blue.",
    "Give me three names for a cat.",
    "Translate 'good morning' to Spanish.",
    "How do I boil an egg?",
]
SENTENCES = [
    "The engine reads its prompt in pieces of a few hundred tokens. ",
    "Every piece writes its keys and values into pages of the cache. ",
    "A page holds sixteen tokens, and a table says where each page lies. ",
    "When two requests begin alike, they share the pages of their common beginning. ",
    "In the harbour the boats were painted red, green and white. ",
    "An old man mended his nets and counted 17 knots, 42 floats and 8 lines. ",
    "She asked him how long the winter would last this year. ",
    "He looked at the clouds and said that nobody could know. ",
]
LONG = [40, 80, 130, 300, 640, 1000, 1500]  # sentences' tokens, about


def chat(text):
    return ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
            f"<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")


def prompts(model):
    for text in SHORT:
        yield model.tokenize(text.encode(), add_bos=False, special=True)
    for text in CHAT:
        yield model.tokenize(chat(text).encode(), add_bos=False, special=True)
    for start, length in enumerate(LONG):
        ids, i = [], start
        while len(ids) < length:
            ids += model.tokenize(SENTENCES[(i * 5 + i // 8) % len(SENTENCES)].encode(), add_bos=False)
            i += 1
        yield ids[:length]


def generate(model, ids):
    model.reset()
    model.eval(ids)
    generated, margins, first = [], [], None
    for _ in range(NUM_TOKENS):
        logits = numpy.array(model.scores[model.n_tokens - 1])
        order = numpy.argsort(-logits)
        if first is None:
            first = [[int(t), round(float(logits[t]), 4)] for t in order[:8]]
        generated.append(int(order[0]))
        margins.append(round(float(logits[order[0]] - logits[order[1]]), 4))
        if generated[-1] == model.token_eos():
            break
        model.eval([generated[-1]])
    return {"prompt_ids": ids, "generated_ids": generated, "margins": margins, "first_logits": first}


def without_repacking(defaults=llama_cpp.llama_model_default_params):
    """Plain kernels only: those over repacked weights crash on some machines with AMX."""
    params = defaults()
    params.use_extra_bufts = False
    return params


def main():
    llama_cpp.llama_cpp.llama_model_default_params = without_repacking
    llama_cpp.llama_model_default_params = without_repacking
    model = llama_cpp.Llama(sys.argv[1], n_ctx=2048, n_batch=512, logits_all=True, verbose=False,
                            n_threads=2)
    cases = [generate(model, ids) for ids in prompts(model)]
    print(json.dumps({"model": "SmolLM2-135M-Instruct.Q4_1.gguf", "cases": cases}, indent=None,
                     separators=(",", ":")).replace('{"prompt_ids"', '\n{"prompt_ids"'))


main()
