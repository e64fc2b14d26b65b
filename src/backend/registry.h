// The devices of this build by name: which there are is said by src/backend/CMakeLists.txt, what
// they are by each of them (device.h).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/device.h"

namespace ernie_image {

/// The CPU first.
std::span<const DeviceKind* const> device_kinds();

/// The kind of that name; null if this build has none.
const DeviceKind* find_device_kind(const std::string& name);

/// The kind of "cpu", "cuda:1" or "ascend:0,1". Throws Error(invalid_argument) for what names no
/// device.
const DeviceKind& device_kind(const std::string& device);

/// Each option once, of whichever device.
std::vector<DeviceOption> all_device_options();

/// Every option of the kind that `device` names, where `given` has no value with its default.
/// Throws Error(invalid_argument) for an option that no device has, and for a value that is none of
/// the option's.
DeviceOptions options_of_device(const std::string& device, const DeviceOptions& given);

/// Its "offload" (card/weights.h); "auto" for a device whose weights have nowhere to go.
std::string offload_of_device(const std::string& device, const DeviceOptions& given);

/// How many cards of the list `device` each have a share of the weights, by its "parallel_weights";
/// 1 where each has all. Throws Error(invalid_argument) for a single card, or a "parallel" that
/// shares pictures in another way.
int cards_sharing_weights(const std::string& device, const DeviceOptions& given);

/// "cuda_attention" as "--cuda-attention".
std::string flag_of_option(const std::string& option);

/// "ascend:0,1" as "ascend:0" and "ascend:1": a replica for each. One name is a list of one. Throws
/// Error(invalid_argument) for what names no device of any machine, or one twice.
std::vector<std::string> split_device_list(const std::string& list);

/// "cpu|cuda[:N,...]|ascend[:N,...]": what may be named in this build.
std::string device_name_pattern();

/// Names of the kernel sets compiled in and usable on this processor, best first: "avx512", "avx2",
/// "neon", "portable".
std::vector<std::string> cpu_kernel_names();

/// Throws Error(invalid_argument) for a name that is no device's or an option that is none, and
/// what the device itself throws if it cannot be used.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace ernie_image
