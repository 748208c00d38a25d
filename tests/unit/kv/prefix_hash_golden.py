#!/usr/bin/env python3
"""The keys of some prefixes, computed from docs/design/prefix-hash.md with hashlib alone.

    prefix_hash_golden.py            prints them
    prefix_hash_golden.py --check F  fails if F says otherwise
"""
import hashlib
import struct
import sys


def field(tag, content):
    return struct.pack("<BQ", tag, len(content)) + content


def root(seed):
    return hashlib.sha256(field(0, b"pagoda prefix 1") + field(1, seed)).digest()


def page(parent, index, tokens, salt=b"", adapter=b"", extras=()):
    begin, end = index * len(tokens), (index + 1) * len(tokens)
    message = field(2, parent)
    message += field(3, struct.pack("<q", len(tokens)))
    message += field(4, struct.pack(f"<{len(tokens)}i", *tokens))
    if index == 0 and salt:
        message += field(5, salt)
    if index == 0 and adapter:
        message += field(6, adapter)
    for start, length, key in sorted(extras):
        if start < end and start + length > begin:
            message += field(7, struct.pack("<qq", start - begin, length) + key)
    return hashlib.sha256(message).digest()


def cases():
    seed = root(b"pagoda")
    first = page(seed, 0, [1, 2, 3, 4])
    yield "root", seed
    yield "first_page", first
    yield "second_page", page(first, 1, [5, 6, 7, 8])
    yield "other_page_size", page(seed, 0, range(1, 17))
    yield "extreme_tokens", page(seed, 0, [-1, 2147483647, -2147483648, 0])
    yield "salt", page(seed, 0, [1, 2, 3, 4], salt=b"blue")
    yield "adapter", page(seed, 0, [1, 2, 3, 4], adapter=b"blue")
    yield "salt_and_adapter", page(seed, 0, [1, 2, 3, 4], salt=b"blue", adapter=b"green")
    image = [(2, 4, b"image")]
    with_image = page(seed, 0, [1, 2, 3, 4], extras=image)
    yield "extra_begins", with_image
    yield "extra_continues", page(with_image, 1, [5, 6, 7, 8], extras=image)
    yield "extra_is_over", page(with_image, 2, [9, 10, 11, 12], extras=image)
    yield "two_extras", page(seed, 0, [1, 2, 3, 4], extras=[(2, 1, b"b"), (0, 2, b"a")])
    yield "key_of_group_16909060", first + struct.pack(">I", 0x01020304)


def main(arguments):
    text = "".join(f"{name} {digest.hex()}\n" for name, digest in cases())
    if arguments[:1] == ["--check"]:
        with open(arguments[1], encoding="ascii") as golden:
            return golden.read() != text
    print(text, end="")
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
