#include "adapters/module_table.h"

#include <algorithm>

namespace ernie_image {

std::string flattened(std::string_view name) {
  std::string flat(name);
  std::ranges::replace(flat, '.', '_');
  return flat;
}

const Module* ModuleTable::find(std::string_view name, bool is_flattened) const {
  if (is_flattened) {
    const auto known = names_.find(name);
    return known == names_.end() ? nullptr : find(known->second, false);
  }
  const auto found = modules_.find(name);
  return found == modules_.end() ? nullptr : &found->second;
}

void ModuleTable::add(Module module) {
  names_.emplace(flattened(module.name), module.name);
  std::string name = module.name;
  modules_.emplace(std::move(name), std::move(module));
}

void ModuleTable::linear(const std::string& module, Linear& layer) {
  add({module, Module::Kind::linear, layer.weight->shape(), layer.bias != nullptr});
}

void ModuleTable::vector(const std::string& module, WeightHandle& weight) {
  add({module, Module::Kind::vector, weight->shape(), false});
}

void ModuleTable::embedding(const std::string& module, const WeightHandle& table,
                            std::shared_ptr<const EmbeddingAdapter>&) {
  add({module, Module::Kind::embedding, table->shape(), false});
}

}  // namespace ernie_image
