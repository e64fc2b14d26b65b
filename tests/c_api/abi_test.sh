#!/bin/sh
# The library against the dump of the last release, with libabigail: abi_test.sh LIBRARY ROOT [--update]
# Additions are no change; --update writes the dump anew, at a release. Exit code 77: not installed here.
set -eu
library=$1 dump=$2/tests/data/c_api/libernie_image_c.abi
if ! command -v abidiff >/dev/null; then
  echo "skipped: no abidiff (Debian: abigail-tools)"
  exit 77
fi
if [ "${3-}" = --update ]; then
  abidw --exported-interfaces-only --no-elf-needed --headers-dir "$2/include/ernie_image" --drop-private-types --no-corpus-path --no-comp-dir-path --no-show-locs "$library" >"$dump"
  exit 0
fi
if [ "$(uname -m)" != x86_64 ]; then
  echo "skipped: the dump is of x86_64"
  exit 77
fi
abidiff --no-added-syms --harmless "$dump" "$library"
