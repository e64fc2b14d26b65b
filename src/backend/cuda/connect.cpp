#include "backend/cuda/connect.h"

#include <dlfcn.h>

#include "backend/card/collective.h"
#include "backend/cuda/nccl.h"
#include "backend/cuda/operations.h"

namespace ernie_image::cuda {
namespace {

Nccl loaded_nccl() {
  constexpr const char* kName = "libnccl.so.2";
  Nccl api;
  void* const library = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    api.problem = std::string(kName) + " cannot be opened (" +
                  (reason == nullptr ? "no reason" : reason) +
                  "): install NCCL 2 for the CUDA of this build, or name its folder in "
                  "LD_LIBRARY_PATH";
    return api;
  }
#define ERNIE_IMAGE_RESOLVE(result, function, parameters)                             \
  api.function = reinterpret_cast<decltype(api.function)>(dlsym(library, #function)); \
  if (api.function == nullptr) api.problem += " " #function;
  ERNIE_IMAGE_NCCL(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
  if (!api.problem.empty()) api.problem = std::string("this ") + kName + " lacks" + api.problem;
  return api;
}

/// [A, B, C] to [B, A, C]: as many copies of rows as the shorter of A and B.
Tensor swap_rows(const Stream& stream, const Tensor& x) {
  stream.begin_call();
  const std::int64_t a = x.dim(0), b = x.dim(1);
  Tensor y = stream.empty(x.dtype(), {b, a, x.dim(2)});
  const std::size_t row = static_cast<std::size_t>(x.dim(2)) * size_of(x.dtype());
  const auto rows = [row](std::int64_t count) { return static_cast<std::size_t>(count) * row; };
  const auto copy = [&](std::byte* target, std::size_t target_pitch, const std::byte* source,
                        std::size_t source_pitch, std::int64_t count) {
    require(
        cudaMemcpy2DAsync(target, target_pitch, source, source_pitch, row,
                          static_cast<std::size_t>(count), cudaMemcpyDeviceToDevice, stream.get()),
        "swapping rows of " + described(x));
  };
  for (std::int64_t i = 0; i < a && a <= b; ++i)
    copy(y.bytes() + rows(i), rows(a), x.bytes() + rows(i * b), row, b);
  for (std::int64_t i = 0; i < b && b < a; ++i)
    copy(y.bytes() + rows(i * a), row, x.bytes() + rows(i), rows(b), a);
  return y;
}

struct NcclLibrary {
  using Stream = cuda::Stream;
  using Handle = NcclHandle;
  using Status = NcclResult;
  using Type = NcclDataType;
  using Call = card::CollectiveCall<NcclLibrary>;
  static constexpr const char* kKind = "cuda";
  static constexpr Status kSuccess = kNcclSuccess;
  static constexpr Type kF32 = kNcclFloat32, kBf16 = kNcclBfloat16;
  static constexpr const char* kAdvice =
      "NCCL_DEBUG=INFO shows what it tried, `nvidia-smi topo -m` how the GPUs are connected";

  static const std::string& problem() { return nccl().problem; }
  static Status connect(const std::vector<int>& cards, Handle* handles) {
    return nccl().ncclCommInitAll(handles, static_cast<int>(cards.size()), cards.data());
  }
  static void disconnect(Handle handle) { nccl().ncclCommDestroy(handle); }
  static void abort(Handle handle) { nccl().ncclCommAbort(handle); }
  static const char* words(Status status) { return nccl().ncclGetErrorString(status); }
  static const char* detail(Handle handle) { return nccl().ncclGetLastError(handle); }

  /// Of sends and receives: a function for it came with 2.28.
  static Status all_to_all(const Call& c) {
    const auto part = static_cast<std::size_t>(c.x.size() / c.ranks);
    Status status = nccl().ncclGroupStart();
    if (status != kNcclSuccess) return status;
    for (int peer = 0; peer < c.ranks && status == kNcclSuccess; ++peer) {
      const std::size_t offset = static_cast<std::size_t>(peer) * part * size_of(c.x.dtype());
      status = nccl().ncclSend(c.x.bytes() + offset, part, c.type, peer, c.handle, c.stream.get());
      if (status == kNcclSuccess)
        status =
            nccl().ncclRecv(c.y.bytes() + offset, part, c.type, peer, c.handle, c.stream.get());
    }
    const Status end = nccl().ncclGroupEnd();  // whatever became of its parts
    return status == kNcclSuccess ? end : status;
  }
  static Status all_gather(const Call& c) {
    return nccl().ncclAllGather(c.x.bytes(), c.y.bytes(), static_cast<std::size_t>(c.x.size()),
                                c.type, c.handle, c.stream.get());
  }
  static Status all_reduce(const Call& c) {
    return nccl().ncclAllReduce(c.x.bytes(), c.y.bytes(), static_cast<std::size_t>(c.x.size()),
                                c.type, kNcclSum, c.handle, c.stream.get());
  }
  static Tensor swap_rows(const Stream& stream, const Tensor& x) {
    return cuda::swap_rows(stream, x);
  }
};

}  // namespace

const Nccl& nccl() {
  static const Nccl kLoaded = loaded_nccl();
  return kLoaded;
}

std::vector<std::unique_ptr<Collective>> connect(std::span<Stream* const> streams) {
  return card::connect<NcclLibrary>(streams);
}

}  // namespace ernie_image::cuda
