#!/usr/bin/env python3
"""Writes docs/guides/mask-gallery.md and its pictures: what `pagoda mask` says of every mask of its gallery.

Usage: draw_mask_gallery.py PATH_OF_PAGODA
"""
import pathlib
import subprocess
import sys

GUIDES = pathlib.Path(__file__).resolve().parent.parent / "docs" / "guides"
HEAD = """# Fifteen masks

Each is an expression of the [mask language](custom-masks.md), drawn by

    pagoda mask NAME --svg FILE

for one request of 4096 tokens in tiles of 128 by 128: dark tiles are all visible, light ones partly, the others are
never read. `--set window=256` changes a value, `--q 1` draws a decode step, `--list` prints the table. The values behind
the names are samples: `window` 1024, `chunk` 2048, `stride` 512, `dilation` 4, `globals` 64, `width` 128, `radius` 7,
documents of 64 to 1563 tokens, a tree of 63 draft tokens behind the context, windows of 256 to 2048 for four heads in turn
(the first is drawn). In C++ most of them have a name in `pagoda/masks.hpp`.

This page is written by `tools/draw_mask_gallery.py`.
"""


def main(pagoda):
    def run(*args):
        return subprocess.run([pagoda, "mask", *args], check=True, capture_output=True, text=True).stdout

    listed = run("--list").splitlines()
    page = [HEAD]
    (GUIDES / "masks").mkdir(exist_ok=True)
    for first, second in zip(listed[::2], listed[1::2]):
        name, meaning = first.split(None, 1)
        queries = ["--q", "63"] if name == "tree" else []
        picture = GUIDES / "masks" / f"{name}.svg"
        text = run(name, "--svg", str(picture), *queries)
        summary = next(line for line in text.splitlines() if " tiles: " in line)
        page += [f"## {name}\n", f"{meaning}\n", f"    {second.strip()}\n", f"![{name}](masks/{name}.svg)\n",
                 f"{summary[0].upper()}{summary[1:]}.\n"]
    (GUIDES / "mask-gallery.md").write_text("\n".join(page))


if __name__ == "__main__":
    main(sys.argv[1])
