#!/usr/bin/env python3
"""Fails if a document links to a file that is not there."""
import pathlib
import re
import sys

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def dangling(document):
    for number, line in enumerate(document.read_text().splitlines(), 1):
        for target in LINK.findall(line):
            if "://" not in target and not (document.parent / target).exists():
                yield f"{document}:{number}: {target} is not there"


def main(root):
    root = pathlib.Path(root)
    documents = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    errors = [error for document in documents for error in dangling(document)]
    print(*errors, sep="\n", end="\n" if errors else "")
    return bool(errors) or not documents


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "."))
