#!/usr/bin/env python3
"""Trains three small tokenizers and writes how the PyPI package tokenizers encodes hard texts with them.

    python3 make_tokenizer_golden.py OUT_DIR [SHARED_DIR]

OUT_DIR gets one folder per tokenizer, each with a tokenizer.json, and tokenizers.json with the encodings. The
three have the shapes of real families: "llama3" (its expression, ignore_merges, a template with bos), "smollm"
(single digits, then GPT-2's expression) and "sentencepiece" (byte_fallback, a space in front). With SHARED_DIR
the encodings of qwen2.5's and GPT-2's vocabularies there are written as well.
"""
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|begin|>", "<|end|>", "<|im_end|>"]

WORDS = ("the a cache page holds tokens keys values of each request and table says where every page lies in memory "
         "when two requests begin alike they share pages it's we'll don't I'm you've hello world Hello World "
         "über straße façade naïve Ελλάδα мир привет 你好 世界 日本語 123 2024 3.14 1000 x86 int64_t foo_bar "
         "return if else for while { } ( ) [ ] ; == != <= >= -> // /* */ # @ $ % & * + - = ~ ` ' \" \\ | ? ! . , :").split()

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", " \n", "\n ", "\r\n", "a", " a", "a ", "  a  b   c    ", "Hello world",
    "Hello, world! It's 2024; we'll see 3.14159 and 1234567890.", "I'M YOU'LL It'S 'tis don'T", "x=1;y = 2\n\treturn x",
    "über straße FAÇADE naïve", "Ελλάδα и мир", "你好，世界！日本語テキスト", "🦙🚀 😶‍🌫️ ✅", "é é Å Å", "ﬁ Ⅷ ½ ² ٣ ①",
    "a\u00a0b\u2003c\u3000d\u200be\ufefff", "tab\tnew\nline\r\nret\rend", "!!!??...---", "<|im_end|>", "a<|end|>b <|im_end|> c",
    "<|begin|><|begin|>", "<|im_end", "<s> </s> <unk>", "▁under ▁▁ score", "ab" * 40, " " * 40 + "x", "0" * 20, "\0\x01\x7f",
    "the cache page holds the keys and values", "ABCdefGHI", "snake_case_name camelCaseName", "e\u0301\u0323 \u1e9b\u0323",
    "क्षत्रिय नमस्ते", "กำลังทดสอบ", "שלום עולם", "مرحبا بالعالم", "\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7",
]


def training_texts():
    generator = random.Random(1)
    for _ in range(400):
        yield " ".join(generator.choice(WORDS) for _ in range(12)) + generator.choice([".", "!\n", "\n\n", "  "])


def byte_level(expressions, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    splits = [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits + [
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def train(tokenizer, size, **more):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False, **more)
    tokenizer.train_from_iterator(training_texts(), trainer)
    return tokenizer


def make_llama3():
    tokenizer = train(byte_level([LLAMA3], ignore_merges=True), 700,
                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("snake_case", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))])
    return tokenizer


def make_smollm():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.normalizer = normalizers.NFC()
    train(tokenizer, 600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def make_sentencepiece():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=specials, show_progress=False, limit_alphabet=60)
    tokenizer.train_from_iterator(training_texts(), trainer)
    root = json.loads(tokenizer.to_str())
    # As converters of SentencePiece models write it: bytes are ordinary entries, a normalizer marks spaces.
    root["added_tokens"] = root["added_tokens"][:3]
    root["pre_tokenizer"] = None
    root["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    root["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return Tokenizer.from_str(json.dumps(root))


def encodings(tokenizer, texts):
    return [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts]


def random_texts(count):
    generator = random.Random(2)
    alphabet = [chr(c) for c in range(32, 127)] + list("\n\t  '  éüßñ你好世界мира́½²٣\u00a0\u2003🦙🇩")
    for _ in range(count):
        yield "".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 40)))


def main(out, shared=None):
    texts = TEXTS + list(random_texts(200))
    golden = {}
    for name, make in {"llama3": make_llama3, "smollm": make_smollm, "sentencepiece": make_sentencepiece}.items():
        tokenizer = make()
        (out / name).mkdir(exist_ok=True)
        (out / name / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False))
        # U+2581 in a text is a space to these libraries; we keep the two apart, so that texts survive.
        golden[name] = encodings(tokenizer, [t for t in texts if name != "sentencepiece" or "▁" not in t])
    if shared:
        qwen = Tokenizer.from_file(str(pathlib.Path(shared) / "tokenizers/qwen2.5/tokenizer.json"))
        golden["qwen2.5"] = encodings(qwen, texts)
        gpt2 = Tokenizer(models.BPE.from_file(str(pathlib.Path(shared) / "tokenizers/gpt2/vocab.json"),
                                              str(pathlib.Path(shared) / "tokenizers/gpt2/merges.txt")))
        gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        golden["gpt2"] = encodings(gpt2, texts)
    rows = ",\n".join(f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
                      for name, rows in golden.items())
    (out / "tokenizers.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
