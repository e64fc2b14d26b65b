// What handing work to the threads costs.
#include <benchmark/benchmark.h>

#include "core/thread_pool.h"

namespace ernie_image {
namespace {

void BM_HandOut(benchmark::State& state) {
  ThreadPool pool;
  for (auto _ : state) pool.parallel_for(state.range(0), [](std::int64_t, int) {});
}
BENCHMARK(BM_HandOut)->ArgName("chunks")->Arg(1)->Arg(2)->Arg(64)->Arg(4096)->UseRealTime();

}  // namespace
}  // namespace ernie_image
