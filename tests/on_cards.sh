#!/bin/sh
# The tests of a program that need a card, in one process. Exits with 77, skipped, where there is none.
#   on_cards.sh PROGRAM FILTER
output=$("$1" --gtest_filter="$2" --gtest_brief=1 2>&1)
status=$?
printf '%s\n' "$output"
if printf '%s\n' "$output" | grep -q '^\[==========\] 0 tests'; then exit 1; fi  # the filter fits nothing
if [ $status -eq 0 ] && printf '%s\n' "$output" | grep -q '^\[  PASSED  \] 0 tests'; then exit 77; fi
exit $status
