#!/bin/sh
# clang-tidy with the short list of .clang-tidy over the host code. Takes the folder of a configured
# build, for its compile_commands.json, and optionally the folders to check.
set -eu
cd "$(dirname "$0")/.."

build=${1:?usage: check_tidy.sh BUILD_FOLDER [FOLDER...]}
shift
[ $# -gt 0 ] || set -- src engine tools
# The bodies of src/cpu/isa are compiled with flags of their own, and src/cuda with nvcc.
files=$(git ls-files "$@" | grep '\.cpp$' | grep -v -e '^src/cpu/isa/' -e '^src/cuda/')
echo "$files" | xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet
