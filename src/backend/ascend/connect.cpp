#include "backend/ascend/connect.h"

#include <dlfcn.h>

#include "backend/ascend/hccl.h"
#include "backend/ascend/operations.h"
#include "backend/ascend/symbols.h"
#include "backend/card/collective.h"

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

struct HcclLibrary {
  using Stream = ascend::Stream;
  using Handle = HcclComm;
  using Status = HcclResult;
  using Type = HcclDataType;
  using Call = card::CollectiveCall<HcclLibrary>;
  static constexpr const char* kKind = "ascend";
  static constexpr Status kSuccess = HCCL_SUCCESS;
  static constexpr Type kF32 = HCCL_DATA_TYPE_FP32, kBf16 = HCCL_DATA_TYPE_BFP16;
  static constexpr const char* kAdvice =
      "cards of one server that see each other are needed (`npu-smi info -t topo`)";

  static const std::string& problem() { return hccl().problem; }
  static Status connect(std::vector<int>& cards, Handle* handles) {
    return hccl().HcclCommInitAll(static_cast<std::uint32_t>(cards.size()), cards.data(), handles);
  }
  static void disconnect(Handle handle) { hccl().HcclCommDestroy(handle); }
  static void abort(Handle handle) { hccl().HcclCommDestroy(handle); }
  static const char* words(Status status) { return hccl().HcclGetErrorString(status); }
  static const char* detail(Handle /*handle*/) { return cann().aclGetRecentErrMsg(); }

  static Status all_to_all(const Call& c) {
    const auto each = static_cast<std::uint64_t>(c.x.size() / c.ranks);
    return hccl().HcclAlltoAll(c.x.bytes(), each, c.type, c.y.bytes(), each, c.type, c.handle,
                               c.stream.queue().handle());
  }
  static Status all_gather(const Call& c) {
    return hccl().HcclAllGather(c.x.bytes(), c.y.bytes(), static_cast<std::uint64_t>(c.x.size()),
                                c.type, c.handle, c.stream.queue().handle());
  }
  static Status all_reduce(const Call& c) {
    return hccl().HcclAllReduce(c.x.bytes(), c.y.bytes(), static_cast<std::uint64_t>(c.x.size()),
                                c.type, HCCL_REDUCE_SUM, c.handle, c.stream.queue().handle());
  }
  static Tensor swap_rows(Stream& stream, const Tensor& x) { return ascend::swap_rows(stream, x); }
};

}  // namespace

const Hccl& hccl() {
  static const Hccl kLoaded = loaded_hccl();
  return kLoaded;
}

std::vector<std::unique_ptr<Collective>> connect(std::span<Stream* const> streams) {
  return card::connect<HcclLibrary>(streams);
}

}  // namespace ernie_image::ascend
