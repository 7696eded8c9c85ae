#!/usr/bin/env bash
# Builds the bundled plugins into one folder: NAME.so for each folder here that is one.
#
#   plugins/build.sh                  all of them, release, into target/plugins (or $CARGO_TARGET_DIR/plugins)
#   plugins/build.sh --native         those in C and C++ only
#   plugins/build.sh --out FOLDER     into another folder
#
# Takes CC, CXX, CFLAGS and CXXFLAGS as they are set, and nothing from the network but what cargo needs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

out=${CARGO_TARGET_DIR:-$root/target}/plugins
native_only=
while (($#)); do
  case $1 in
    --native) native_only=1 ;;
    --out)
      [[ $# -ge 2 ]] || { echo "--out needs a folder" >&2; exit 2; }
      out=$2
      shift
      ;;
    *) echo "unknown argument $1; use --native, --out FOLDER" >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$out"

# A library that is in use must not be overwritten in place: the process that has it mapped would crash. It is replaced by a rename.
place() {
  mv -f "$1" "$out/$2.so"
  echo "$out/$2.so"
}

strict=(-Wall -Wextra -Werror -pedantic)
shared=(-O2 -g -fPIC -shared -fvisibility=hidden -Wl,-z,defs "-I$here/abi/include")

# Flags that somebody sets are words.
# shellcheck disable=SC2086
{
  ${CC:-cc} -std=c99 "${strict[@]}" "${shared[@]}" ${CFLAGS-} -o "$out/.dedup-c.$$" "$here/dedup-c/dedup.c" ${LDFLAGS-}
  place "$out/.dedup-c.$$" dedup-c
  if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "no tally-cpp.so: there is no C++ compiler ${CXX:-c++}" >&2
  else
    ${CXX:-c++} -std=c++17 "${strict[@]}" "${shared[@]}" ${CXXFLAGS-} -o "$out/.tally-cpp.$$" "$here/tally-cpp/tally.cpp" ${LDFLAGS-}
    place "$out/.tally-cpp.$$" tally-cpp
  fi
}
[[ -z $native_only ]] || exit 0

cd "$root"
rust=(ndjson-file rollup rate-alarm)
packages=()
for name in "${rust[@]}"; do packages+=(-p "keylane-plugin-$name"); done
cargo build --locked --release "${packages[@]}"
target=${CARGO_TARGET_DIR:-target}
for name in "${rust[@]}"; do
  cp "$target/release/lib${name//-/_}.so" "$out/.$name.$$"
  place "$out/.$name.$$" "$name"
done
