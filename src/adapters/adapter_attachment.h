// Adapters at work: what they add to the layers of a loaded model, and the way back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "adapters/adapter_match.h"
#include "backend/backend.h"
#include "nn/linear.h"

namespace ernie_image {

/// An adapter that has been opened for a model, and what was found out about it since.
struct LoadedAdapter {
  AdapterFile file;
  std::string sha256;
  AdapterMatch match;
  /// AdapterModule::gains, which take a pass over the weight: by component and module.
  std::map<std::string, std::vector<float>> gains;
};

struct ActiveAdapter {
  std::shared_ptr<LoadedAdapter> adapter;
  double strength = 1;
};

/// Memory that adapters take beside their mapped files.
struct AdapterMemory {
  std::uint64_t bytes = 0;
  int merged_layers = 0;  ///< whose weight is a copy
};

/// One component of a model, to which any number of adapters are attached, one set at a time.
///
/// A product of low rank and a Kronecker product are computed beside the weight, which stays as it
/// is, mapped or quantised; so is LoHa up to a rank, as a product of rank r^2. DoRA multiplies
/// rows or columns, which is done to the layer's input and output. What is left (full differences,
/// LoHa of high rank, DoRA by rows and by columns of one layer) is merged: the layer gets a copy of
/// its weight with all adapters added. Factors that are not used as the file has them, and copies,
/// are rounded to bf16 in a bf16 run and are f32 otherwise.
class AdapterAttachment {
 public:
  /// `component`: "transformer" or "text_encoder", whose weights are `weights` under `prefix` and
  /// the module's name. Both references must outlive it.
  AdapterAttachment(Backend& ops, WeightSource& weights, std::string prefix, std::string component,
                    DType dtype)
      : ops_(ops),
        weights_(weights),
        prefix_(std::move(prefix)),
        component_(std::move(component)),
        dtype_(dtype) {}

  /// What `attach` will take, by sizes alone.
  AdapterMemory memory(const std::vector<ActiveAdapter>& adapters) const;

  /// Attaches them to the parts of `model` in place of those attached before; false if they are
  /// the same already. If that fails, none are attached.
  template <class Model>
  bool attach(Model& model, const std::vector<ActiveAdapter>& adapters);

 private:
  struct Change {
    const AdapterModule* module;
    LoadedAdapter* adapter;
    double strength;
  };
  using Changes = std::vector<Change>;
  class Installer;
  struct Original {
    Linear* layer;
    Linear before;
  };
  struct OriginalVector {
    WeightHandle* place;
    WeightHandle before;
  };

  std::map<std::string, Changes> changes_of(const std::vector<ActiveAdapter>& adapters) const;
  std::unique_ptr<ModuleVisitor> installer(const std::vector<ActiveAdapter>& adapters);
  bool is_attached(const std::vector<ActiveAdapter>& adapters) const;
  void detach();

  Backend& ops_;
  WeightSource& weights_;
  std::string prefix_;
  std::string component_;
  DType dtype_;
  std::vector<ActiveAdapter> attached_;
  std::vector<Original> layers_;
  std::vector<OriginalVector> vectors_;
  std::vector<std::shared_ptr<const EmbeddingAdapter>*> embeddings_;
};

template <class Model>
bool AdapterAttachment::attach(Model& model, const std::vector<ActiveAdapter>& adapters) {
  if (is_attached(adapters)) return false;
  detach();
  try {
    const std::unique_ptr<ModuleVisitor> visitor = installer(adapters);
    model.visit(*visitor);
  } catch (...) {
    detach();
    throw;
  }
  attached_ = adapters;
  return true;
}

}  // namespace ernie_image
