#include "backend/cuda/connect.h"

#include <dlfcn.h>

#include <atomic>
#include <utility>

#include "backend/cuda/nccl.h"
#include "backend/cuda/operations.h"
#include "ernie_image/error.h"

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

void require_nccl(NcclResult status, NcclHandle communicator, const std::string& attempted) {
  if (status == kNcclSuccess) return;
  const char* const words = nccl().ncclGetErrorString(status);
  const char* const detail = nccl().ncclGetLastError(communicator);
  std::string message =
      "cuda: " + attempted + " failed with " + std::to_string(static_cast<int>(status));
  if (words != nullptr && *words != '\0') message += " (" + std::string(words) + ")";
  if (detail != nullptr && *detail != '\0') message += ": " + std::string(detail);
  message +=
      "; NCCL_DEBUG=INFO shows what it tried, `nvidia-smi topo -m` how the GPUs are connected; "
      "--parallel pictures does without";
  throw Error(ErrorKind::device, message);
}

NcclDataType nccl_type(const Tensor& x) {
  switch (x.dtype()) {
    case DType::f32:
      return kNcclFloat32;
    case DType::bf16:
      return kNcclBfloat16;
    default:
      throw Error(ErrorKind::unsupported,
                  "cuda: cards send each other F32 and BF16, not " + described(x));
  }
}

/// The communicators of a group. Whoever gives up first aborts all, once: the others' operations
/// then end.
class Communicators {
 public:
  explicit Communicators(const std::vector<int>& cards) : handles_(cards.size()) {
    require_nccl(
        nccl().ncclCommInitAll(handles_.data(), static_cast<int>(cards.size()), cards.data()),
        nullptr, "connecting " + std::to_string(cards.size()) + " cards");
  }
  ~Communicators() {
    if (is_given_up_) return;
    for (const NcclHandle handle : handles_) nccl().ncclCommDestroy(handle);
  }
  Communicators(const Communicators&) = delete;
  Communicators& operator=(const Communicators&) = delete;

  NcclHandle of(int rank) const { return handles_[static_cast<std::size_t>(rank)]; }
  bool is_given_up() const { return is_given_up_; }
  void give_up() noexcept {
    if (is_given_up_.exchange(true)) return;
    for (const NcclHandle handle : handles_) nccl().ncclCommAbort(handle);
  }

 private:
  std::vector<NcclHandle> handles_;
  std::atomic<bool> is_given_up_{false};
};

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

class NcclCollective final : public Collective {
 public:
  NcclCollective(Stream& stream, int rank, int size, std::shared_ptr<Communicators> group)
      : Collective(rank, size), stream_(stream), group_(std::move(group)) {}
  /// What is queued still needs the group.
  ~NcclCollective() override { stream_.queue().try_synchronize(); }

  /// Of sends and receives: a function for it came with 2.28.
  Tensor all_to_all(const Tensor& x) override {
    begin("all_to_all", x);
    Tensor y = stream_.empty(x.dtype(), x.shape());
    const NcclDataType type = nccl_type(x);
    const auto part = static_cast<std::size_t>(x.size() / size());
    const std::string attempted = "all_to_all of " + described(x);
    require_of_rank(nccl().ncclGroupStart(), attempted);
    NcclResult status = kNcclSuccess;
    for (int peer = 0; peer < size() && status == kNcclSuccess; ++peer) {
      const std::size_t offset = static_cast<std::size_t>(peer) * part * size_of(x.dtype());
      status = nccl().ncclSend(x.bytes() + offset, part, type, peer, handle(), stream_.get());
      if (status == kNcclSuccess)
        status = nccl().ncclRecv(y.bytes() + offset, part, type, peer, handle(), stream_.get());
    }
    const NcclResult end = nccl().ncclGroupEnd();  // whatever became of its parts
    require_of_rank(status == kNcclSuccess ? end : status, attempted);
    return y;
  }
  Tensor all_gather(const Tensor& x) override {
    begin("all_gather", x);
    Shape shape = x.shape();
    shape.insert(shape.begin(), size());
    Tensor y = stream_.empty(x.dtype(), shape);
    require_of_rank(nccl().ncclAllGather(x.bytes(), y.bytes(), static_cast<std::size_t>(x.size()),
                                         nccl_type(x), handle(), stream_.get()),
                    "all_gather of " + described(x));
    return y;
  }
  Tensor all_reduce(const Tensor& x) override {
    begin("all_reduce", x);
    Tensor y = stream_.empty(x.dtype(), x.shape());
    require_of_rank(nccl().ncclAllReduce(x.bytes(), y.bytes(), static_cast<std::size_t>(x.size()),
                                         nccl_type(x), kNcclSum, handle(), stream_.get()),
                    "all_reduce of " + described(x));
    return y;
  }
  Tensor swap_rows(const Tensor& x) override { return cuda::swap_rows(stream_, x); }
  void abort() noexcept override { group_->give_up(); }

 private:
  NcclHandle handle() const { return group_->of(rank()); }
  void require_of_rank(NcclResult status, const std::string& attempted) const {
    if (status != kNcclSuccess && group_->is_given_up()) refuse(attempted);
    require_nccl(status, handle(), attempted);
  }
  void begin(const char* operation, const Tensor& x) const {
    stream_.begin_call();
    if (group_->is_given_up()) refuse(std::string(operation) + " of " + described(x));
  }
  [[noreturn]] static void refuse(const std::string& attempted) {
    throw Error(ErrorKind::device,
                "cuda: " + attempted + ": another card has failed, and the group is given up");
  }

  Stream& stream_;
  std::shared_ptr<Communicators> group_;
};

}  // namespace

const Nccl& nccl() {
  static const Nccl kLoaded = loaded_nccl();
  return kLoaded;
}

std::vector<std::unique_ptr<Collective>> connect(std::span<Stream* const> streams) {
  if (!nccl().problem.empty())
    throw Error(ErrorKind::not_found, "cuda: several cards for one picture: " + nccl().problem);
  std::vector<int> cards;
  for (const Stream* stream : streams) cards.push_back(stream->device().index());
  const auto group = std::make_shared<Communicators>(cards);
  std::vector<std::unique_ptr<Collective>> ranks;
  for (std::size_t rank = 0; rank < streams.size(); ++rank) {
    ranks.push_back(std::make_unique<NcclCollective>(*streams[rank], static_cast<int>(rank),
                                                     static_cast<int>(streams.size()), group));
  }
  return ranks;
}

}  // namespace ernie_image::cuda
