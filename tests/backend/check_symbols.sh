#!/bin/sh
# check_symbols.sh NM OBJECT POLICY
# An object compiled for one instruction set must share no function with the rest of the program:
# the linker keeps one copy of a weak symbol, and a copy with AVX-512 in it would crash older
# processors. So each weak function it defines must name the policy (a template over it).
set -eu
symbols=$("$1" --defined-only "$2" | awk '$2 ~ /^[Ww]$/ { print $3 }')
own=$(printf '%s\n' "$symbols" | grep -c "${#3}$3" || true)
foreign=$(printf '%s\n' "$symbols" | grep -v "${#3}$3" || true)
if [ -n "$foreign" ]; then
  echo "$2 defines shared functions that do not name $3:"
  echo "$foreign"
  exit 1
fi
if [ "$own" -eq 0 ]; then
  echo "$2 defines no template over $3: is this the right file?"
  exit 1
fi
echo "$own shared functions, all of $3"
