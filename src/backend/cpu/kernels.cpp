#include "backend/cpu/kernels.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <array>
#include <string>

#include "ernie_image/error.h"
#if defined(ERNIE_IMAGE_ONEDNN)
#include "backend/cpu/onednn_linear.h"
#endif

namespace ernie_image {
namespace {

struct UsableKernels {
  std::array<const KernelTable*, 6> tables{};
  std::size_t count = 0;

  UsableKernels() {
#if defined(__x86_64__)
    // Intel's processors multiply pairs of bf16 at half the rate of fp32 (docs/performance.md),
    // AMD's at twice that rate.
    const bool has_fast_pairs = has_avx512_bf16() && !__builtin_cpu_is("intel");
    if (has_fast_pairs) add(avx512_bf16_kernels());
    if (has_avx512_vnni()) add(avx512_vnni_kernels());
    if (has_avx512_bf16() && !has_fast_pairs) add(avx512_bf16_kernels());
    if (has_avx512()) add(avx512_kernels());
    if (has_avx2()) add(avx2_kernels());
    if (count != 0) add_onednn();
#elif defined(__aarch64__)
    if (has_dotprod()) add(neon_dotprod_kernels());
    add(neon_kernels());
#endif
    add(portable_kernels());
  }

 private:
#if defined(ERNIE_IMAGE_ONEDNN)
  /// The best set so far, with oneDNN's products: before that set where the processor has tiles
  /// that ours do not use. A rule and no timing: the choice decides the last bits of a picture.
  void add_onednn() {
    static KernelTable table = *tables[0];
    table.name = "onednn";
    table.linear_of_many = cpu::onednn_linear;
    add(table);
    if (cpu::onednn_has_amx())
      std::rotate(tables.begin(), tables.begin() + count - 1, tables.begin() + count);
  }
#else
  void add_onednn() {}
#endif

  void add(const KernelTable& table) { tables[count++] = &table; }

#if defined(__x86_64__)
  // These also ask whether the operating system saves the wide registers. F16C, which clang cannot
  // ask for, is older than AVX2 and in every processor that has it.
  static bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
  static bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
  static bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
  static bool has_avx512_bf16() {
    return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16");
  }
#elif defined(__aarch64__)
  static bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#endif
};

}  // namespace

std::span<const KernelTable* const> usable_kernels() {
  static const UsableKernels usable;
  return {usable.tables.data(), usable.count};
}

const KernelTable& choose_kernels(std::string_view name) {
  std::string names = "auto";
  for (const KernelTable* table : usable_kernels()) {
    if (name == "auto" || name == table->name) return *table;
    names += std::string(", ") + table->name;
  }
  throw Error(ErrorKind::invalid_argument, "CPU kernels \"" + std::string(name) +
                                               "\" are not available here; choose one of " + names);
}

}  // namespace ernie_image
