// Whose weights a file holds, told by the names of its tensors, and what they are called here: as
// in a diffusers folder, whatever program wrote the file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// The parts of a model that have weights.
enum class Component : std::uint8_t { transformer, text_encoder, pe, vae };

/// One of the two whose tensors have the names of transformers.
constexpr bool is_language_model(Component component) {
  return component == Component::text_encoder || component == Component::pe;
}

/// As the folders are called.
constexpr std::array<std::string_view, 4> names_of(Component /*type*/) {
  return {"transformer", "text_encoder", "pe", "vae"};
}

constexpr std::string_view component_name(Component component) {
  return names_of(component)[static_cast<std::size_t>(component)];
}

/// How the tensors of a component are named.
enum class Dialect : std::uint8_t {
  diffusers,     ///< and transformers
  llama_cpp,     ///< blk.0.attn_q: text encoder and prompt enhancer
  black_forest,  ///< decoder.up.3.block.0: the VAE as its makers name it
};

/// One component found in a file. All its names begin with `prefix`.
struct NamedComponent {
  Component component;
  Dialect dialect;
  std::string prefix;
};

/// The components whose tensors are among `names`. A language model counts as the text encoder, but
/// as the prompt enhancer where the prefix says so.
std::vector<NamedComponent> find_components(const std::vector<std::string>& names);

/// What a tensor is called here; nothing for one that is not the component's. `levels`: how many
/// resolutions a VAE has.
std::optional<std::string> canonical_name(const NamedComponent& found, std::string_view name,
                                          int levels);

/// The reverse, for writing: what llama.cpp calls a weight of a language model, whose name here is
/// given without the prefix of its model ("layers.0.mlp.up_proj.weight"); nothing for what it does
/// not have.
std::optional<std::string> llama_name(std::string_view name);

/// And what a VAE's makers call the weight of that diffusers name.
std::string black_forest_name(std::string_view name, int levels);

/// Of a VAE in black_forest names.
int count_levels(const NamedComponent& found, const std::vector<std::string>& names);

/// "FLUX.2", "a LoRA"... for a file that holds something else; empty if the names say nothing.
std::string foreign_model(const std::vector<std::string>& names);

}  // namespace ernie_image
