#!/bin/sh
# Fetches what the preset arm64 builds with: Debian's cross compiler and QEMU into the system, and the
# libraries for ARM into build/arm64-root. Says nothing if all are there.
#
# The system's packages stay of one architecture: the libraries are unpacked, not installed.
set -eu

cd "$(dirname "$0")/.."
root=build/arm64-root
libraries="libssl-dev libssl3 libgtest-dev libdnnl-dev libdnnl2 nlohmann-json3-dev libcli11-dev
  libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2"

missing=""
for package in g++-aarch64-linux-gnu qemu-user; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>&1) || status=absent
  [ "$status" = "install ok installed" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  as_root=""
  [ "$(id -u)" -eq 0 ] || as_root="sudo"
  echo "installing:$missing"
  $as_root apt-get update -q
  # shellcheck disable=SC2086 # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

# The list is written last, so that half a folder is filled again.
if [ "$(cat "$root/packages" 2>&1)" = "$libraries" ]; then
  exit 0
fi
echo "fetching for arm64: $libraries"
rm -rf "$root"
mkdir -p "$root/apt/state/lists/partial" "$root/apt/cache/archives/partial"
cd "$root/apt"
: >status
fetch() {
  apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User= \
    -o Dir::State="$PWD/state" -o Dir::Cache="$PWD/cache" -o Dir::State::status="$PWD/status" "$@"
}
fetch update
# shellcheck disable=SC2086 # a list of words
fetch download $libraries
for archive in *.deb; do
  dpkg-deb -x "$archive" ..
done
cd ..
rm -rf apt
echo "$libraries" >packages
