#!/usr/bin/env python3
"""Fails on words that the glossary replaces, and on files that are longer than a file about one idea."""
import pathlib
import re
import subprocess
import sys

MAX_LINES = 600
# Other projects' names for what we call page, page_size, page_table, head_dim. In CUDA code "block"
# is a thread block, and a block mask is a term of its own, so only the compounds are refused.
REFUSED = re.compile(r"\b(block_size|block_table|kv_block|head_size|seqlen|softcap_logits)\b")
CODE = {".h", ".hpp", ".cpp", ".c", ".cu", ".cuh", ".py"}


def main(root):
    errors = []
    names = subprocess.check_output(["git", "ls-files"], cwd=root, text=True).split()
    for name in names:
        path = root / name
        if path.suffix not in CODE or path.name == "check_words.py":
            continue
        lines = path.read_text().splitlines()
        if len(lines) > MAX_LINES and "one file because" not in lines[0]:
            errors.append(f"{name}: {len(lines)} lines; split it, or say why in its first line "
                          '("one file because ...")')
        if name.startswith(("src/", "include/")):
            errors += [f"{name}:{i}: {match.group()} is not our word (docs/reference/glossary.md)"
                       for i, line in enumerate(lines, 1) if (match := REFUSED.search(line))]
    print(*errors, sep="\n", end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
