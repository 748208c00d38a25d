#!/bin/sh
# Compiles every header alone: the public C headers as C99, C11 and C++20, all others as C++20.
set -eu
cd "$(dirname "$0")/.."

for header in include/pagoda/*.h; do
  for standard in c99 c11; do
    cc -std=$standard -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c "$header"
  done
done

# Those of src/cuda and engine/cuda need the CUDA headers and are compiled by nvcc; an .inl.h is a body
# that its includers give a vector type, not a header.
git ls-files 'include/*.h' 'include/*.hpp' 'src/*.h' 'engine/*.h' 'tools/*.h' |
  grep -v -e '^src/cuda/' -e '^engine/cuda/' -e '\.inl\.h$' |
  xargs -P "$(nproc)" -I{} sh -c \
    'echo "#include \"{}\"" | c++ -std=c++20 -Wall -Wextra -Werror -Wno-missing-field-initializers \
       -Iinclude -I. -fsyntax-only -x c++ - || { echo "{} does not compile alone" >&2; exit 255; }'
