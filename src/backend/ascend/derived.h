// Tensors that operations make of others which stay the same through layers and steps: the tables
// of a request in the type of the activations, the vectors of a modulation, ones. Made once, not in
// each layer.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace ernie_image::ascend {

class DerivedTensors {
 public:
  enum class Use {
    ones,           ///< f32 of the shape
    half_swap,      ///< the matrix that rotates a head by a quarter turn
    hadamard,       ///< that of the shape, of 1 and -1
    narrow_table,   ///< a rotary table, or scales of rows, in the type of the activations
    chunks,         ///< a modulation [B, n H] as [n, B, H]
    wide_chunks,    ///< the same in float
    chunk_factors,  ///< one plus that
  };

  /// What make() gave for this `source` and shape before, else what it gives now. `source` may be
  /// empty; it is kept with what was made of it, so that its memory cannot become another's.
  template <typename Make>
  Tensor of(Use use, const Tensor& source, DType dtype, const Shape& shape, const Make& make) {
    const Key key = {use, source, dtype, shape};
    if (const Tensor* known = find(key)) return *known;
    return keep(key, make());
  }

  /// Forgets all: a stage has ended, or memory is short.
  void clear() { entries_.clear(); }

 private:
  struct Key {
    Use use;
    Tensor source;
    DType dtype;
    Shape shape;
  };
  struct Entry {
    Key key;
    Tensor made;
  };
  /// A transformer's step has twelve; the last step's modulation is the oldest.
  static constexpr std::size_t kMost = 16;

  const Tensor* find(const Key& key);
  Tensor keep(const Key& key, Tensor made);

  std::vector<Entry> entries_;  // the one used last is the last
};

}  // namespace ernie_image::ascend
