// NCCL for the shim, a library of its own as the real one: ranks are threads of one process, each
// of which waits in its call for the others. A group whose ranks do not call the same is broken, as
// GPUs would wait for ever: every rank is told.
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backend/cuda/nccl.h"
#include "core/half.h"
#include "stream.h"

using namespace ernie_image::cuda;

namespace {

constexpr auto kInvalidArgument = static_cast<NcclResult>(4);
constexpr auto kInvalidUsage = static_cast<NcclResult>(5);
constexpr auto kRemoteError = static_cast<NcclResult>(6);

/// The n-th operation of all ranks.
struct Call {
  std::string what;  // which must agree
  std::vector<const std::byte*> sources;
  std::size_t arrived = 0, done = 0, left = 0;
};

struct Group {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> cards;
  std::map<std::uint64_t, Call> calls;
  bool broken = false;
};

}  // namespace

struct ernie_image::cuda::NcclCommunicator {
  std::shared_ptr<Group> group;
  int rank;
  std::uint64_t called = 0;
  // Between ncclGroupStart and ncclGroupEnd:
  std::vector<const std::byte*> sends;
  std::vector<std::byte*> receives;
  std::size_t part_bytes = 0;
  cudaStream_t stream = nullptr;
};

namespace {

thread_local std::string problem;
thread_local int depth = 0;
thread_local std::set<NcclHandle> in_group;

NcclResult refused(NcclResult code, const std::string& message) {
  problem = message;
  return code;
}

std::size_t bytes_of(NcclDataType type) { return type == kNcclFloat32 ? 4 : 2; }

/// Fills this rank's target from the sources of all.
using Work = std::function<void(const std::vector<const std::byte*>& sources)>;

NcclResult meet(NcclHandle own, const std::string& what, const void* source, cudaStream_t stream,
                const Work& work) {
  Group& group = *own->group;
  const std::size_t size = group.cards.size();
  if (stream == nullptr || stream->device != group.cards[static_cast<std::size_t>(own->rank)])
    return refused(kInvalidArgument, what + ": the stream is not of this rank's card");
  if (stream->recording != nullptr)
    return refused(kInvalidUsage, what + ": what is recorded is not imitated");
  std::unique_lock lock(group.mutex);
  const std::uint64_t number = own->called++;
  Call& call = group.calls[number];
  if (call.arrived == 0) call.what = what;
  if (call.what != what) {
    group.broken = true;
    group.changed.notify_all();
    return refused(kInvalidUsage, "rank " + std::to_string(own->rank) + " calls " + what +
                                      ", another has called " + call.what);
  }
  call.sources.resize(size);
  call.sources[static_cast<std::size_t>(own->rank)] = static_cast<const std::byte*>(source);
  ++call.arrived;
  group.changed.notify_all();
  group.changed.wait(lock, [&] { return call.arrived == size || group.broken; });
  if (group.broken) return refused(kRemoteError, what + ": another rank has given up");
  const std::vector<const std::byte*> sources = call.sources;
  lock.unlock();
  work(sources);
  lock.lock();
  ++call.done;
  group.changed.notify_all();
  group.changed.wait(lock, [&] { return call.done == size || group.broken; });
  const bool is_whole = call.done == size;
  if (++call.left == size) group.calls.erase(number);
  return is_whole ? kNcclSuccess : refused(kRemoteError, what + ": another rank has given up");
}

float load_number(const std::byte* bytes, NcclDataType type) {
  float value = 0;
  std::uint16_t half = 0;
  if (type == kNcclFloat32) {
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  std::memcpy(&half, bytes, sizeof(half));
  return ernie_image::bf16_to_float(half);
}

void store_number(std::byte* bytes, NcclDataType type, float value) {
  const std::uint16_t half = ernie_image::float_to_bf16(value);
  if (type == kNcclFloat32) {
    std::memcpy(bytes, &value, sizeof(value));
  } else {
    std::memcpy(bytes, &half, sizeof(half));
  }
}

std::string words(const char* operation, std::size_t count, NcclDataType type) {
  return std::string(operation) + " of " + std::to_string(count) +
         (type == kNcclFloat32 ? " F32" : " BF16");
}

NcclResult exchange(NcclHandle own) {
  const std::size_t size = own->group->cards.size(), part = own->part_bytes;
  const auto rank = static_cast<std::size_t>(own->rank);
  for (std::size_t peer = 0; peer < size; ++peer) {
    if (own->sends[peer] == nullptr || own->receives[peer] == nullptr)
      return refused(kInvalidUsage, "only exchanges of all with all are imitated");
  }
  // The others read this rank's list of sources.
  const auto* const sources = reinterpret_cast<const std::byte*>(own->sends.data());
  return meet(own, "exchange of " + std::to_string(part) + " bytes", sources, own->stream,
              [&](const std::vector<const std::byte*>& lists) {
                for (std::size_t peer = 0; peer < size; ++peer) {
                  const auto* const sends = reinterpret_cast<const std::byte* const*>(lists[peer]);
                  std::memcpy(own->receives[peer], sends[rank], part);
                }
              });
}

/// A send or a receive of a group: all of one size, in one stream.
NcclResult note(NcclHandle own, int peer, std::size_t bytes, cudaStream_t stream) {
  const std::size_t size = own->group->cards.size();
  if (depth == 0) return refused(kInvalidUsage, "only sends of a group are imitated");
  if (peer < 0 || static_cast<std::size_t>(peer) >= size)
    return refused(kInvalidArgument, "no rank " + std::to_string(peer));
  if (in_group.insert(own).second) {
    own->sends.assign(size, nullptr);
    own->receives.assign(size, nullptr);
    own->part_bytes = bytes;
    own->stream = stream;
  }
  return own->part_bytes == bytes && own->stream == stream
             ? kNcclSuccess
             : refused(kInvalidUsage, "only equal parts in one stream are imitated");
}

}  // namespace

extern "C" {

#define EXPORTED __attribute__((visibility("default")))

EXPORTED NcclResult ncclCommInitAll(NcclHandle* communicators, int count, const int* cards) {
  const auto group = std::make_shared<Group>();
  group->cards.assign(cards, cards + count);
  if (std::set<int>(cards, cards + count).size() != static_cast<std::size_t>(count))
    return refused(kInvalidUsage, "a card is named twice");
  for (int rank = 0; rank < count; ++rank)
    communicators[rank] = new NcclCommunicator{group, rank, 0, {}, {}, 0, nullptr};
  return kNcclSuccess;
}
EXPORTED NcclResult ncclCommDestroy(NcclHandle communicator) {
  const std::lock_guard lock(communicator->group->mutex);
  if (!communicator->group->calls.empty())
    return refused(kInvalidUsage, "destroyed before its operations have ended");
  delete communicator;
  return kNcclSuccess;
}
/// From any thread: those that wait are let go. What they hold stays.
EXPORTED NcclResult ncclCommAbort(NcclHandle communicator) {
  const std::lock_guard lock(communicator->group->mutex);
  communicator->group->broken = true;
  communicator->group->changed.notify_all();
  return kNcclSuccess;
}
EXPORTED NcclResult ncclGroupStart() {
  ++depth;
  return kNcclSuccess;
}
EXPORTED NcclResult ncclGroupEnd() {
  if (--depth > 0) return kNcclSuccess;
  NcclResult result = kNcclSuccess;
  for (const NcclHandle own : in_group) {
    const NcclResult status = exchange(own);
    if (result == kNcclSuccess) result = status;
  }
  in_group.clear();
  return result;
}
EXPORTED NcclResult ncclSend(const void* source, std::size_t count, NcclDataType type, int peer,
                             NcclHandle own, cudaStream_t stream) {
  const NcclResult status = note(own, peer, count * bytes_of(type), stream);
  if (status == kNcclSuccess)
    own->sends[static_cast<std::size_t>(peer)] = static_cast<const std::byte*>(source);
  return status;
}
EXPORTED NcclResult ncclRecv(void* target, std::size_t count, NcclDataType type, int peer,
                             NcclHandle own, cudaStream_t stream) {
  const NcclResult status = note(own, peer, count * bytes_of(type), stream);
  if (status == kNcclSuccess)
    own->receives[static_cast<std::size_t>(peer)] = static_cast<std::byte*>(target);
  return status;
}
EXPORTED NcclResult ncclAllGather(const void* source, void* target, std::size_t count,
                                  NcclDataType type, NcclHandle own, cudaStream_t stream) {
  const std::size_t part = count * bytes_of(type);
  return meet(own, words("gather", count, type), source, stream,
              [&](const std::vector<const std::byte*>& sources) {
                for (std::size_t from = 0; from < sources.size(); ++from)
                  std::memcpy(static_cast<std::byte*>(target) + from * part, sources[from], part);
              });
}
EXPORTED NcclResult ncclAllReduce(const void* source, void* target, std::size_t count,
                                  NcclDataType type, NcclReduction operation, NcclHandle own,
                                  cudaStream_t stream) {
  if (operation != kNcclSum) return refused(kInvalidArgument, "only sums are computed here");
  if (source == target) return refused(kInvalidUsage, "sums in place are not imitated");
  const std::size_t size = bytes_of(type);
  return meet(own, words("sum", count, type), source, stream,
              [&](const std::vector<const std::byte*>& sources) {
                for (std::size_t i = 0; i < count; ++i) {
                  float sum = 0;
                  for (const std::byte* from : sources) sum += load_number(from + i * size, type);
                  store_number(static_cast<std::byte*>(target) + i * size, type, sum);
                }
              });
}
EXPORTED const char* ncclGetErrorString(NcclResult code) {
  return code == kNcclSuccess   ? "no error"
         : code == kRemoteError ? "remote process exited or there was a network error"
                                : "invalid usage";
}
EXPORTED const char* ncclGetLastError(NcclHandle) { return problem.c_str(); }
}
