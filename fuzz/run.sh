#!/usr/bin/env bash
# Runs all fuzzers one after another, MINUTES in all: fuzz/run.sh MINUTES [TARGET...]
#
# Builds them with clang in build-fuzz/, under AddressSanitizer and UndefinedBehaviorSanitizer. What they find goes to
# build-fuzz/kept/TARGET, from where the next run goes on; an input that crashes to build-fuzz/crashes. Says executions,
# inputs kept and crashes of each, and exits with 1 if there were any.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
minutes=${1:?usage: fuzz/run.sh MINUTES [TARGET...]}
shift
source scripts/install_packages.sh
install_packages "${PACKAGES[@]}" clang
build=build-fuzz

cmake -G Ninja -B $build -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
  -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=18 -DERNIE_IMAGE_FUZZ=ON -DERNIE_IMAGE_TESTS=OFF \
  -DERNIE_IMAGE_BENCH=OFF -DERNIE_IMAGE_SANITIZE=fuzzer-no-link,address,undefined --log-level=WARNING >/dev/null
cmake --build $build --target fuzzers -- --quiet

targets=("$@")
if ((${#targets[@]} == 0)); then
  for program in "$build"/*_fuzzer; do targets+=("$(basename "$program" _fuzzer)"); done
fi
seconds=$((minutes * 60 / ${#targets[@]}))
mkdir -p $build/crashes
export ASAN_OPTIONS=allocator_may_return_null=1
failed=0
printf '%-18s %12s %8s %8s\n' target executions kept crashes
for target in "${targets[@]}"; do
  kept=$build/kept/$target log=$build/$target.log
  mkdir -p "$kept"
  # One job at a time, begun again after a crash until its time is over.
  end=$((SECONDS + (seconds > 0 ? seconds : 1)))
  executions=0 crashes=0
  while ((SECONDS < end)); do
    status=0
    "$build/${target}_fuzzer" -max_total_time=$((end - SECONDS)) -max_len=4096 -rss_limit_mb=2048 -timeout=20 \
      -print_final_stats=1 -artifact_prefix="$build/crashes/$target-" "$kept" "$build/fuzz/corpus/$target" >"$log" 2>&1 || status=$?
    executions=$((executions + $(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1 || echo 0) + 0))
    if ((status == 0)); then break; fi
    crashes=$((crashes + 1)) failed=1
    cp "$log" "$build/crashes/$target-$crashes.log"
  done
  printf '%-18s %12d %8d %8d\n' "$target" "$executions" "$(find "$kept" -type f | wc -l)" "$crashes"
done
exit $failed
