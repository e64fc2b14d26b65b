#!/usr/bin/env bash
# Fails, naming the places, if a C++ file is not formatted as .clang-format says. Fix: clang-format -i.
#   scripts/check_format.sh [FILE...]      all sources of the project by default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# == 0)); then
  mapfile -t files < <(find . -type d \( -name 'build*' -o -name .git -o -name data \) -prune \
                         -o \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' \) -print)
  set -- "${files[@]}"
fi
clang-format --dry-run --Werror "$@"
echo "$# files are formatted"
