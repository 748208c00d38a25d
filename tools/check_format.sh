#!/bin/sh
# Fails, naming the files, if a source file is not formatted as .clang-format says. --fix formats them.
set -eu
cd "$(dirname "$0")/.."

files=$(git ls-files '*.h' '*.hpp' '*.cpp' '*.c' '*.cu' '*.cuh')
if [ "${1:-}" = "--fix" ]; then
  echo "$files" | xargs clang-format -i
  exit 0
fi
echo "$files" | xargs clang-format --dry-run -Werror
