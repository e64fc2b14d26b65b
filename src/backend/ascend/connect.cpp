#include "backend/ascend/connect.h"

#include <dlfcn.h>

#include <atomic>

#include "backend/ascend/hccl.h"
#include "backend/ascend/operations.h"
#include "backend/ascend/symbols.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

Hccl loaded_hccl() {
  Hccl api;
  const std::string name = "libhccl.so";
  void* const library = open_library(name);
  if (library == nullptr) {
    api.problem = name +
                  " cannot be opened: it belongs to the CANN toolkit and is found by "
                  "LD_LIBRARY_PATH or ASCEND_HOME_PATH, as `source <toolkit>/set_env.sh` "
                  "sets them";
    return api;
  }
#define ERNIE_IMAGE_RESOLVE(result, function, parameters)                             \
  api.function = reinterpret_cast<decltype(api.function)>(dlsym(library, #function)); \
  if (api.function == nullptr) api.problem += " " #function;
  ERNIE_IMAGE_HCCL(ERNIE_IMAGE_RESOLVE)
#undef ERNIE_IMAGE_RESOLVE
  if (!api.problem.empty()) api.problem = "this " + name + " lacks" + api.problem;
  return api;
}

void require_hccl(HcclResult status, const std::string& attempted) {
  if (status == HCCL_SUCCESS) return;
  const char* const words = hccl().HcclGetErrorString(status);
  const char* const detail = cann().aclGetRecentErrMsg();
  std::string message =
      "ascend: " + attempted + " failed with " + std::to_string(static_cast<int>(status));
  if (words != nullptr && *words != '\0') message += " (" + std::string(words) + ")";
  if (detail != nullptr && *detail != '\0') message += ": " + std::string(detail);
  message +=
      "; cards of one server that see each other are needed (`npu-smi info -t topo`); "
      "--parallel pictures does without";
  throw Error(ErrorKind::device, message);
}

HcclDataType hccl_type(const Tensor& x) {
  switch (x.dtype()) {
    case DType::f32:
      return HCCL_DATA_TYPE_FP32;
    case DType::bf16:
      return HCCL_DATA_TYPE_BFP16;
    default:
      throw Error(ErrorKind::unsupported,
                  "ascend: cards send each other F32 and BF16, not " + card::described(x));
  }
}

/// The communicators of a group; whoever gives up first destroys all, once.
class Communicators {
 public:
  explicit Communicators(std::vector<std::int32_t> cards)
      : cards_(std::move(cards)), handles_(cards_.size()) {
    require_hccl(hccl().HcclCommInitAll(static_cast<std::uint32_t>(cards_.size()), cards_.data(),
                                        handles_.data()),
                 "connecting " + std::to_string(cards_.size()) + " cards");
  }
  ~Communicators() { destroy(); }
  Communicators(const Communicators&) = delete;
  Communicators& operator=(const Communicators&) = delete;

  HcclComm of(int rank) const { return handles_[static_cast<std::size_t>(rank)]; }
  bool is_destroyed() const { return destroyed_; }
  void destroy() noexcept {
    if (destroyed_.exchange(true)) return;
    for (const HcclComm handle : handles_) hccl().HcclCommDestroy(handle);
  }

 private:
  std::vector<std::int32_t> cards_;
  std::vector<HcclComm> handles_;
  std::atomic<bool> destroyed_{false};
};

class HcclCollective final : public Collective {
 public:
  HcclCollective(Stream& stream, int rank, int size, std::shared_ptr<Communicators> group)
      : Collective(rank, size), stream_(stream), group_(std::move(group)) {}
  /// What is queued still needs the group.
  ~HcclCollective() override { stream_.queue().try_synchronize(); }

  Tensor all_to_all(const Tensor& x) override {
    begin("all_to_all", x);
    Tensor y = stream_.empty(x.dtype(), x.shape());
    const auto each = static_cast<std::uint64_t>(x.size() / size());
    const HcclDataType type = hccl_type(x);
    require_hccl(hccl().HcclAlltoAll(x.bytes(), each, type, y.bytes(), each, type,
                                     group_->of(rank()), stream_.queue().handle()),
                 "all_to_all of " + card::described(x));
    return y;
  }
  Tensor all_gather(const Tensor& x) override {
    begin("all_gather", x);
    Shape shape = x.shape();
    shape.insert(shape.begin(), size());
    Tensor y = stream_.empty(x.dtype(), shape);
    require_hccl(hccl().HcclAllGather(x.bytes(), y.bytes(), static_cast<std::uint64_t>(x.size()),
                                      hccl_type(x), group_->of(rank()), stream_.queue().handle()),
                 "all_gather of " + card::described(x));
    return y;
  }
  Tensor all_reduce(const Tensor& x) override {
    begin("all_reduce", x);
    Tensor y = stream_.empty(x.dtype(), x.shape());
    require_hccl(hccl().HcclAllReduce(x.bytes(), y.bytes(), static_cast<std::uint64_t>(x.size()),
                                      hccl_type(x), HCCL_REDUCE_SUM, group_->of(rank()),
                                      stream_.queue().handle()),
                 "all_reduce of " + card::described(x));
    return y;
  }
  Tensor swap_rows(const Tensor& x) override { return ascend::swap_rows(stream_, x); }
  void abort() noexcept override { group_->destroy(); }

 private:
  void begin(const char* operation, const Tensor& x) {
    stream_.begin_call();
    if (group_->is_destroyed())
      throw Error(ErrorKind::device, std::string("ascend: ") + operation + " of " +
                                         card::described(x) +
                                         ": another card has failed, and the group is given up");
  }

  Stream& stream_;
  std::shared_ptr<Communicators> group_;
};

}  // namespace

const Hccl& hccl() {
  static const Hccl kLoaded = loaded_hccl();
  return kLoaded;
}

std::vector<std::unique_ptr<Collective>> connect(std::span<Stream* const> streams) {
  if (!hccl().problem.empty())
    throw Error(ErrorKind::not_found, "ascend: several cards for one picture: " + hccl().problem);
  std::vector<std::int32_t> cards;
  for (const Stream* stream : streams) cards.push_back(stream->device().index());
  const auto group = std::make_shared<Communicators>(cards);
  std::vector<std::unique_ptr<Collective>> ranks;
  for (std::size_t rank = 0; rank < streams.size(); ++rank) {
    ranks.push_back(std::make_unique<HcclCollective>(*streams[rank], static_cast<int>(rank),
                                                     static_cast<int>(streams.size()), group));
  }
  return ranks;
}

}  // namespace ernie_image::ascend
