// What a device says about itself. Its folder defines one DeviceKind, which is all that the rest of
// the program knows of it: flags, records, plans, `devices` and the registry read it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/collective.h"

namespace ernie_image {

/// Options of devices by name, as LoadOptions::device_options has them.
using DeviceOptions = std::map<std::string, std::string>;

/// One of several words. Devices that mean the same by an option give it the same name.
struct DeviceOption {
  std::string name;                 ///< "cuda_attention"; the flag is --cuda-attention
  std::vector<std::string> values;  ///< the first is the default
  std::string help;                 ///< of the flag
  /// Whether pictures record its default too; not for an option that came later and whose default
  /// is what was done before.
  bool records_default = true;
};

/// What a device has timed to choose between ways of computing, and remembers.
struct DeviceTiming {
  std::string what;                            ///< operation and shape
  std::string where;                           ///< chip and release of the vendor's libraries
  std::map<std::string, double> milliseconds;  ///< by name; infinite if refused
  std::string chosen;
};

/// What `ernie-image devices` says of this machine.
struct DeviceInfo {
  std::string problem;                 ///< why there is no card; empty if there is one
  std::optional<std::string> path;     ///< of a library of ours, empty if it is not there
  std::vector<std::string> libraries;  ///< of the vendor, as they were opened
  std::string release;                 ///< of these, where they tell
  std::vector<std::string> notes;  ///< what works differently on the cards at hand, in sentences
  struct Card {
    int index;
    std::string name;
    int compute_capability;  ///< 90 for 9.0; 0 where the vendor has no such number
    std::size_t free_bytes, total_bytes;
  };
  std::vector<Card> cards;
  struct Operation {
    std::string name;
    bool present;
    std::string alternative;  ///< computed instead if absent; empty: nothing works without it
  };
  /// Of the vendor's libraries, where these may lack some.
  std::optional<std::vector<Operation>> operations;
  std::vector<DeviceTiming> timings;
};

struct BackendOptions {
  /// "cpu", "cuda" (the first card), "cuda:N"...
  std::string device = "cpu";
  int num_threads = 0;               ///< of the CPU backend, see CpuOptions
  std::string cpu_kernels = "auto";  ///< of the CPU backend
  /// Those of other devices are ignored; absent ones have their defaults.
  DeviceOptions device_options = {};
};

struct DeviceKind {
  std::string name;  ///< "cuda"
  bool has_cards;    ///< "cuda:N" names one; else the machine has one such device, by this name
  std::vector<DeviceOption> options;
  DeviceInfo (*info)();
  /// `options` holds every option of this kind, and its value is one of the option's. Throws
  /// Error(not_found) that says why there is no such device, Error(invalid_argument),
  /// Error(unsupported) for a card that cannot do what is needed.
  std::unique_ptr<Backend> (*make)(int card, const BackendOptions& options);
  /// A group of several of them, each on another card, in which rank r is the r-th; null where
  /// there is no such thing. The backends must outlive it. Throws Error(not_found) without the
  /// library for it, Error(device) if the cards do not reach each other.
  std::vector<std::unique_ptr<Collective>> (*connect)(std::span<Backend* const> cards) = nullptr;
};

}  // namespace ernie_image
