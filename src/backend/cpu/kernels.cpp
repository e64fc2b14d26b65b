#include "backend/cpu/kernels.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <array>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

struct UsableKernels {
  std::array<const KernelTable*, 4> tables{};
  std::size_t count = 0;

  UsableKernels() {
#if defined(__x86_64__)
    if (has_avx512_vnni()) add(avx512_vnni_kernels());
    if (has_avx512()) add(avx512_kernels());
    if (has_avx2()) add(avx2_kernels());
#elif defined(__aarch64__)
    if (has_dotprod()) add(neon_dotprod_kernels());
    add(neon_kernels());
#endif
    add(portable_kernels());
  }

 private:
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
