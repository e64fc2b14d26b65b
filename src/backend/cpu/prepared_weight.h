// Weights as the CPU backend keeps them.
#pragma once

#include "backend/backend.h"
#include "core/ledger.h"
#include "core/thread_pool.h"

namespace ernie_image {

class CpuWeight : public PreparedWeight {
 public:
  const Shape& shape() const override { return source.shape; }

  WeightUse use = WeightUse::linear;
  /// What the file holds, and where all but vectors are read from. Of a linear weight that was
  /// quantised here: the packed form, whose bytes it owns.
  Weight source;
  /// vector: f32 [n]. Else empty.
  Tensor converted;
};

/// A packed linear weight is used where it lies, and so is an encoded one; encoded filters are
/// expanded. Throws Error(unsupported) for a dtype other than
/// f32, f16 and bf16 of a plain weight, and for packed weights that are not linear;
/// Error(corrupt_file) for a packed one whose bytes are not what its shape demands.
WeightHandle prepare_cpu_weight(const Weight& weight, WeightUse use);

/// A plain or encoded linear weight as a packed copy; the same errors.
WeightHandle quantize_cpu_weight(ThreadPool& pool, const Weight& weight, WeightFormat format);

/// The same in a rehearsal: the copy is entered into the books.
WeightHandle booked_cpu_weight(Ledger& ledger, const Weight& weight, WeightFormat format);

/// The handle as this backend made it; it must have data and be prepared for `use`.
const CpuWeight& as_cpu_weight(const PreparedWeight& weight, WeightUse use);

}  // namespace ernie_image
