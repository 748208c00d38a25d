#!/bin/sh
# Compiles every header alone: the public C headers as C99, C11 and C++20, all others as C++20.
set -eu
cd "$(dirname "$0")/.."

for header in include/pagoda/*.h; do
  for standard in c99 c11; do
    cc -std=$standard -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c "$header"
  done
done
# An object of its own, so that "pragma once in main file" is not what is reported.
git ls-files 'include/*.h' 'include/*.hpp' 'src/*.h' 'engine/*.h' | while read -r header; do
  case "$header" in src/cuda/*) continue ;; esac  # these need the CUDA headers; nvcc compiles them
  printf '#include "%s"\n' "$header" |
    c++ -std=c++20 -Wall -Wextra -Werror -Iinclude -I. -fsyntax-only -x c++ - ||
    { echo "$header does not compile alone" >&2; exit 1; }
done
