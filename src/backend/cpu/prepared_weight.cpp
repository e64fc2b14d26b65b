#include "backend/cpu/prepared_weight.h"

#include <cassert>
#include <cstdint>
#include <cstring>
#include <string>

#include "backend/cpu/measuring.h"
#include "core/packed_weight.h"
#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr std::uintptr_t kPackedAlignment = 64;

void require_supported(const Weight& weight) {
  if (weight.format == WeightFormat::encoded || is_weight_number(weight.dtype)) return;
  throw Error(ErrorKind::unsupported, "cpu: weight " + weight.name + " " + to_string(weight.shape) +
                                          " is " + std::string(dtype_name(weight.dtype)) +
                                          "; expected F32, F16 or BF16");
}

[[noreturn]] void throw_corrupt(const Weight& weight, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, "cpu: packed weight " + weight.name + " " +
                                           to_string(weight.shape) + " " + problem +
                                           "; quantise the model again");
}

void require_packed(const Weight& weight, WeightUse use) {
  if (use != WeightUse::linear || weight.shape.size() != 2) {
    throw Error(ErrorKind::unsupported, "cpu: weight " + weight.name + " " +
                                            to_string(weight.shape) +
                                            " is packed, which only linear layers may be");
  }
  const std::size_t expected = PackedLayout(weight.format, weight.shape).size_bytes();
  if (weight.packed_bytes != expected) {
    throw_corrupt(weight, "has " + std::to_string(weight.packed_bytes) + " bytes, expected " +
                              std::to_string(expected));
  }
  if (reinterpret_cast<std::uintptr_t>(weight.data) % kPackedAlignment != 0)
    throw_corrupt(weight, "does not begin at a multiple of 64 bytes");
}

/// `packed` holds the records of the weight.
Weight packed_weight(const Weight& weight, WeightFormat format, const std::byte* packed,
                     std::size_t bytes, std::shared_ptr<const void> owner) {
  return {weight.name, DType::i8, weight.shape, packed, std::move(owner), format, bytes};
}

}  // namespace

WeightHandle prepare_cpu_weight(const Weight& weight, WeightUse use) {
  if (is_packed(weight.format)) {
    require_packed(weight, use);
  } else {
    require_supported(weight);
  }
  const auto prepared = std::make_shared<CpuWeight>();
  prepared->use = use;
  prepared->source = weight;
  if (weight.data == nullptr) return prepared;
  if (use == WeightUse::vector) prepared->converted = widened(weight);
  // Only products and tables read encoded rows; filters are few.
  if (use == WeightUse::conv2d) prepared->source = expanded(weight);
  if (!prepared->converted.empty()) {
    prepared->source.data = nullptr;
    prepared->source.owner = nullptr;
  }
  return prepared;
}

WeightHandle quantize_cpu_weight(ThreadPool& pool, const Weight& weight, WeightFormat format) {
  require_supported(weight);
  const auto prepared = std::make_shared<CpuWeight>();
  prepared->source = weight;
  if (weight.data == nullptr) return prepared;
  const PackedLayout layout(format, weight.shape);
  const Tensor packed = Tensor::host(DType::i8, {static_cast<std::int64_t>(layout.size_bytes())});
  if (only_touches) std::memset(packed.bytes(), 0, packed.size_bytes());
  pool.parallel_for(layout.panels, [&](std::int64_t panel, int) {
    pack_panel(layout, weight, panel,
               packed.bytes() + static_cast<std::size_t>(panel) * layout.record_bytes());
  });
  prepared->source = packed_weight(weight, format, packed.bytes(), packed.size_bytes(),
                                   std::make_shared<Tensor>(packed));
  return prepared;
}

WeightHandle booked_cpu_weight(Ledger& ledger, const Weight& weight, WeightFormat format) {
  require_supported(weight);
  const auto prepared = std::make_shared<CpuWeight>();
  const std::size_t bytes = PackedLayout(format, weight.shape).size_bytes();
  const std::shared_ptr<std::byte> block = ledger.take(bytes, &Ledger::Held::copies);
  prepared->source = packed_weight(weight, format, block.get(), bytes, block);
  return prepared;
}

const CpuWeight& as_cpu_weight(const PreparedWeight& weight, [[maybe_unused]] WeightUse use) {
  const auto& prepared = static_cast<const CpuWeight&>(weight);
  assert(prepared.use == use);
  assert(prepared.source.data != nullptr || !prepared.converted.empty());
  return prepared;
}

}  // namespace ernie_image
