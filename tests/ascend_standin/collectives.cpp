// HCCL: the queues of several cards meet, and each takes what the others brought. Ranks are threads
// of one process. A group whose ranks do not call the same is broken, as a card's would wait for
// ever: every rank is told.
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backend/ascend/hccl.h"
#include "core/half.h"
#include "machine.h"

using namespace ernie_image::ascend;
using namespace standin;

namespace {

constexpr auto kParameterError = static_cast<HcclResult>(1);
constexpr auto kRemoteError = static_cast<HcclResult>(21);

/// One operation of all ranks: the n-th that each has called.
struct Call {
  std::string what;  // operation, counts and type, which must agree
  int first_rank;
  std::vector<const std::byte*> sources;  // real addresses, of the ranks that have come
  int arrived = 0;
  int done = 0;
  int left = 0;
};

struct Group {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::int32_t> devices;
  std::map<std::uint64_t, Call> calls;
  bool broken = false;
};

struct Communicator {
  std::shared_ptr<Group> group;
  int rank;
  std::uint64_t called = 0;
};

std::mutex registry_mutex;
std::set<void*> alive;

std::shared_ptr<Communicator> found(HcclComm handle) {
  const std::lock_guard lock(registry_mutex);
  return alive.contains(handle) ? *static_cast<std::shared_ptr<Communicator>*>(handle) : nullptr;
}

HcclResult refused(const std::string& message) {
  fail(kRefused, message);
  return kParameterError;
}

void break_group(Group& group) {
  group.broken = true;
  group.changed.notify_all();
}

std::size_t bytes_of(HcclDataType type) { return type == HCCL_DATA_TYPE_FP32 ? 4 : 2; }

std::string name_of(HcclDataType type) { return type == HCCL_DATA_TYPE_FP32 ? "FP32" : "BFP16"; }

/// What an operation reads and writes, in elements of `type`.
struct Transfer {
  const char* operation;
  const void* source;
  void* target;
  std::uint64_t source_count, target_count;
  HcclDataType type;
  /// Fills the target from the sources of all ranks.
  std::function<void(int rank, const std::vector<const std::byte*>& sources, std::byte* target)>
      work;
  std::uint64_t sent_bytes;  ///< that leave each card
};

/// Runs in the queue of a rank: waits for the others, takes, and waits until all have taken.
void meet(Group& group, std::uint64_t number, int rank, const Transfer& transfer) {
  std::unique_lock lock(group.mutex);
  Call& call = group.calls[number];
  const int size = static_cast<int>(group.devices.size());
  call.sources[static_cast<std::size_t>(rank)] = real_address(transfer.source);
  ++call.arrived;
  group.changed.notify_all();
  group.changed.wait(lock, [&] { return call.arrived == size || group.broken; });
  if (group.broken) return;
  const std::vector<const std::byte*> sources = call.sources;
  lock.unlock();
  if (!is_idle()) transfer.work(rank, sources, real_address(transfer.target));
  lock.lock();
  ++call.done;
  group.changed.notify_all();
  group.changed.wait(lock, [&] { return call.done == size || group.broken; });
  if (++call.left == size) group.calls.erase(number);
}

std::string problem_of(const Communicator& rank, const Transfer& t, aclrtStream stream) {
  if (stream == nullptr) return "the stream is null: not the one that the tensors are written in";
  if (current_device() != rank.group->devices[static_cast<std::size_t>(rank.rank)])
    return "the thread is bound to another card than this rank's";
  if (t.type != HCCL_DATA_TYPE_FP32 && t.type != HCCL_DATA_TYPE_BFP16)
    return "this type is not computed by the stand-in";
  if (t.source_count == 0) return "nothing is sent";
  const std::size_t size = bytes_of(t.type);
  const Range source = {reinterpret_cast<std::uintptr_t>(t.source), t.source_count * size};
  const Range target = {reinterpret_cast<std::uintptr_t>(t.target), t.target_count * size};
  if (!is_device_address(t.source) || !is_device_address(t.target))
    return "source and target must be in device memory";
  if (overlap(source, target)) return "source and target overlap";
  for (const Range& range : {source, target}) {
    if (const std::string problem = check_range(range, 0); !problem.empty()) return problem;
  }
  return "";
}

/// The n-th call of this rank is what the others' n-th is; else the group is broken. That is noted
/// first: a rank that waits is then let go, and asks what happened.
std::string mismatch(Communicator& rank, const std::string& what) {
  Group& group = *rank.group;
  const std::lock_guard lock(group.mutex);
  if (group.broken) return "the group is broken";
  const auto [place, is_first] = group.calls.try_emplace(rank.called++);
  Call& call = place->second;
  if (is_first) {
    call.what = what;
    call.first_rank = rank.rank;
    call.sources.resize(group.devices.size());
    return "";
  }
  if (call.what == what) return "";
  const std::string problem = "rank " + std::to_string(rank.rank) + " calls " + what + ", rank " +
                              std::to_string(call.first_rank) + " has called " + call.what;
  violation(problem);
  break_group(group);
  return problem;
}

HcclResult run(const Transfer& t, HcclComm handle, aclrtStream stream) {
  if (const int status = enter(t.operation)) return static_cast<HcclResult>(status);
  const auto rank = found(handle);
  const std::string name(t.operation);
  if (rank == nullptr) return refused(name + ": no such communicator");
  if (const std::string problem = problem_of(*rank, t, stream); !problem.empty())
    return refused(name + ": " + problem);
  const std::string what = name + " of " + std::to_string(t.source_count) + " to " +
                           std::to_string(t.target_count) + " " + name_of(t.type);
  const std::uint64_t number = rank->called;
  if (const std::string problem = mismatch(*rank, what); !problem.empty())
    return refused(name + ": " + problem);
  const std::size_t size = bytes_of(t.type);
  const std::vector<Range> uses = {
      {reinterpret_cast<std::uintptr_t>(t.source), t.source_count * size},
      {reinterpret_cast<std::uintptr_t>(t.target), t.target_count * size, true}};
  count_exchanged(t.sent_bytes);
  const int status = enqueue(
      stream, name, uses, [rank, number, t] { meet(*rank->group, number, rank->rank, t); }, 1);
  return status == 0 ? HCCL_SUCCESS : kParameterError;
}

float load_number(const std::byte* bytes, HcclDataType type) {
  if (type == HCCL_DATA_TYPE_FP32) {
    float value = 0;
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  std::uint16_t half = 0;
  std::memcpy(&half, bytes, sizeof(half));
  return ernie_image::bf16_to_float(half);
}

void store_number(std::byte* bytes, HcclDataType type, float value) {
  if (type == HCCL_DATA_TYPE_FP32) {
    std::memcpy(bytes, &value, sizeof(value));
    return;
  }
  const std::uint16_t half = ernie_image::float_to_bf16(value);
  std::memcpy(bytes, &half, sizeof(half));
}

std::uint64_t ranks_of(HcclComm handle) {
  const auto rank = found(handle);
  return rank == nullptr ? 1 : rank->group->devices.size();
}

}  // namespace

extern "C" {

HcclResult HcclCommInitAll(std::uint32_t count, std::int32_t* devices, HcclComm* communicators) {
  if (const int status = enter("HcclCommInitAll")) return static_cast<HcclResult>(status);
  const std::set<std::int32_t> different(devices, devices + count);
  if (different.size() != count) return refused("HcclCommInitAll: a card is named twice");
  for (const std::int32_t device : different) {
    if (device < 0 || device >= standin::device_count())
      return refused("HcclCommInitAll: no such card");
  }
  const auto group = std::make_shared<Group>();
  group->devices.assign(devices, devices + count);
  const std::lock_guard lock(registry_mutex);
  for (std::uint32_t rank = 0; rank < count; ++rank) {
    communicators[rank] = new std::shared_ptr<Communicator>(
        std::make_shared<Communicator>(Communicator{group, static_cast<int>(rank)}));
    alive.insert(communicators[rank]);
    count_object("communicator", 1);
  }
  return HCCL_SUCCESS;
}

/// Those that still wait for this rank are let go, with an error of their queue.
HcclResult HcclCommDestroy(HcclComm handle) {
  const auto rank = found(handle);
  if (rank == nullptr) return refused("HcclCommDestroy: no such communicator");
  {
    const std::lock_guard lock(registry_mutex);
    alive.erase(handle);
    delete static_cast<std::shared_ptr<Communicator>*>(handle);
  }
  count_object("communicator", -1);
  Group& group = *rank->group;
  const std::lock_guard lock(group.mutex);
  const int size = static_cast<int>(group.devices.size());
  for (const auto& [number, call] : group.calls) {
    if (call.done == size || group.broken) continue;
    violation("a communicator was destroyed before its " + call.what + " had ended");
    break_group(group);
  }
  return HCCL_SUCCESS;
}

HcclResult HcclAlltoAll(const void* source, std::uint64_t source_count, HcclDataType source_type,
                        const void* target, std::uint64_t target_count, HcclDataType target_type,
                        HcclComm communicator, aclrtStream stream) {
  if (source_count != target_count || source_type != target_type)
    return refused("HcclAlltoAll: counts and types of both sides must be equal");
  const std::uint64_t ranks = ranks_of(communicator);
  const std::size_t part = source_count * bytes_of(source_type);
  const auto work = [part](int rank, const std::vector<const std::byte*>& sources,
                           std::byte* into) {
    for (std::size_t from = 0; from < sources.size(); ++from)
      std::memcpy(into + from * part, sources[from] + static_cast<std::size_t>(rank) * part, part);
  };
  return run({"HcclAlltoAll", source, const_cast<void*>(target), source_count * ranks,
              target_count * ranks, source_type, work, part * (ranks - 1)},
             communicator, stream);
}

HcclResult HcclAllGather(void* source, void* target, std::uint64_t source_count, HcclDataType type,
                         HcclComm communicator, aclrtStream stream) {
  const std::uint64_t ranks = ranks_of(communicator);
  const std::size_t part = source_count * bytes_of(type);
  const auto work = [part](int, const std::vector<const std::byte*>& sources, std::byte* into) {
    for (std::size_t from = 0; from < sources.size(); ++from)
      std::memcpy(into + from * part, sources[from], part);
  };
  return run({"HcclAllGather", source, target, source_count, source_count * ranks, type, work,
              part * (ranks - 1)},
             communicator, stream);
}

/// Summed in float in the order of ranks and rounded once; a ring sends each part twice around.
HcclResult HcclAllReduce(void* source, void* target, std::uint64_t count, HcclDataType type,
                         HcclReduceOp operation, HcclComm communicator, aclrtStream stream) {
  if (operation != HCCL_REDUCE_SUM) return refused("HcclAllReduce: only sums are computed here");
  const std::uint64_t ranks = ranks_of(communicator);
  const std::size_t size = bytes_of(type);
  const auto work = [count, type, size](int, const std::vector<const std::byte*>& sources,
                                        std::byte* into) {
    for (std::size_t i = 0; i < count; ++i) {
      float sum = 0;
      for (const std::byte* from : sources) sum += load_number(from + i * size, type);
      store_number(into + i * size, type, sum);
    }
  };
  return run({"HcclAllReduce", source, target, count, count, type, work,
              2 * count * size * (ranks - 1) / ranks},
             communicator, stream);
}

const char* HcclGetErrorString(HcclResult code) {
  return code == HCCL_SUCCESS      ? "success"
         : code == kParameterError ? "parameter error"
         : code == kRemoteError    ? "remote error"
                                   : "error";
}
}
