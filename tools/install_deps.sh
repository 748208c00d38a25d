#!/bin/sh
# Installs the Debian packages that a build needs and that are missing. Says nothing if all are there.
set -eu

# ocl-icd-opencl-dev: the CMake package of Debian's oneDNN looks for OpenCL and stops without it.
packages="g++ cmake ninja-build pkg-config git ca-certificates
  libssl-dev libdnnl-dev ocl-icd-opencl-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev
  libopenmpi-dev openmpi-bin libgtest-dev libbenchmark-dev python3 python3-pip clang-format clang-tidy"

missing=""
for package in $packages; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>&1) || status=absent
  [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  as_root="sudo"
  command -v sudo >/dev/null || {
    echo "these packages are missing, and there is no sudo to install them with:$missing" >&2
    exit 1
  }
fi
echo "installing:$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
