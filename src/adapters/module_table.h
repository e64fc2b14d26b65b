// The modules of a model that adapters may change, found by either spelling of their names.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/tensor.h"
#include "nn/linear.h"

namespace ernie_image {

struct Module {
  enum class Kind {
    linear,     ///< [N, K]
    vector,     ///< [n], of a norm
    embedding,  ///< [V, H]
    idle,       ///< is in the file and never computed; its shape is not looked at
  };
  std::string name;  ///< "layers.0.self_attention.to_out.0"
  Kind kind = Kind::linear;
  Shape shape;  ///< of the weight
  bool has_bias = false;
};

class ModuleTable final : public ModuleVisitor {
 public:
  /// `name` has dots as the model has them, or all of them as "_". Null for none.
  const Module* find(std::string_view name, bool is_flattened) const;

  void linear(const std::string& module, Linear& layer) override;
  void vector(const std::string& module, WeightHandle& weight) override;
  void embedding(const std::string& module, const WeightHandle& table,
                 std::shared_ptr<const EmbeddingAdapter>& adapter) override;
  /// Adds the module, unless one of that name is known.
  void add(Module module);

  const std::map<std::string, Module, std::less<>>& modules() const { return modules_; }

 private:
  std::map<std::string, Module, std::less<>> modules_;
  std::map<std::string, std::string, std::less<>> names_;  // of the flattened ones
};

/// "layers.0.mlp" as "layers_0_mlp"
std::string flattened(std::string_view name);

}  // namespace ernie_image
