// What each stage will hold, known before any work is done: the peak of its rehearsal
// (core/ledger.h), in which the same code runs on tensors without data. What fits a limit is found
// by rehearsing with fewer layers at a time or smaller bands.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ledger.h"
#include "ernie_image/memory.h"
#include "memory/weight_residency.h"
#include "models/banded_image.h"

namespace ernie_image {

/// One stage, on the host or in a device's own memory.
struct StagePlan {
  std::string name;                ///< "pe", "vae_encoder", "text_encoder", "transformer", "vae"
  Ledger::Held peak;               ///< when it holds most
  std::uint64_t weight_bytes = 0;  ///< of all its weights, were they there at once; without copies
  std::uint64_t total_bytes = 0;   ///< of the peak, the program included
  /// For activations, before weights of other stages may stay on a device. More than the peak of
  /// those where what the pool keeps for later gives way.
  std::uint64_t reserved_bytes = 0;
  /// The same with the fewest layers at a time, the smallest bands; of a stage that fits, as it is.
  std::uint64_t least_bytes = 0;
  ResidencyPlan residency;
  DecodeBands bands;  ///< of the VAE
  bool fits = true;

  bool streams() const { return residency.resident_layers < residency.layers; }
};

/// Stages run in turn, so the peak is that of the largest.
struct MemoryPlan {
  std::vector<StagePlan> stages;
  /// Beside the stages: the program itself, its libraries, the tokenizer; on a device the workspace
  /// of its libraries.
  std::uint64_t program_bytes = 0;
  std::uint64_t limit_bytes = 0;      ///< that the plan was made for
  std::uint64_t available_bytes = 0;  ///< free now, within the cgroup's limit
  bool keeps_all = false;             ///< on a device: the weights of all stages stay

  const StagePlan& stage(std::string_view name) const;
  std::uint64_t peak_bytes() const;
  std::uint64_t peak_activation_bytes() const;
  /// With which every stage works.
  std::uint64_t least_bytes() const;
};

/// What a stage holds at most when it is run so.
using LayersRehearsal = std::function<Ledger::Held(const ResidencyPlan&)>;
using BandsRehearsal = std::function<Ledger::Held(const DecodeBands&)>;

/// The only place where it is decided what is streamed: as many of `layers` stay as let the stage,
/// with `program_bytes` beside it, take at most `limit_bytes`.
void fit_layers(StagePlan& stage, std::int64_t layers, std::uint64_t program_bytes,
                std::uint64_t limit_bytes, const LayersRehearsal& rehearse);

/// How a decoder may cut its picture.
struct BandChoices {
  std::size_t blocks;        ///< of the decoder
  std::int64_t least_rows;   ///< of a strip
  std::int64_t latent_rows;  ///< of the input of the first block; each block doubles them
};
/// The same by bands, and by strips after those, those of few blocks before those of many.
void fit_bands(StagePlan& stage, const BandChoices& choices, std::uint64_t program_bytes,
               std::uint64_t limit_bytes, const BandsRehearsal& rehearse);

/// Where not all components find room in the page cache, each leaves it when it is done, and layers
/// that are read again in every step if not even those of their own do.
void drop_what_cannot_stay(MemoryPlan& plan);

/// Throws Error(out_of_memory) for the first stage that does not fit, with the numbers and the
/// least that works. `where`: "memory", or a device.
void require_fit(const MemoryPlan& plan, const std::string& where = "memory");

/// The planned half of what is reported of a stage.
StageMemory stage_memory(const StagePlan& stage);

}  // namespace ernie_image
