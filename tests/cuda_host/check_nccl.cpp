// Compiled, not run, where NCCL's own header is: what src/backend/cuda/nccl.h declares is what it
// has.
#include <nccl.h>

#include <type_traits>

#include "backend/cuda/nccl.h"

namespace {

namespace ours = ernie_image::cuda;

static_assert(int(ours::kNcclSuccess) == int(ncclSuccess));
static_assert(int(ours::kNcclFloat32) == int(ncclFloat32));
static_assert(int(ours::kNcclBfloat16) == int(ncclBfloat16));
static_assert(int(ours::kNcclSum) == int(ncclSum));
static_assert(sizeof(ours::NcclResult) == sizeof(ncclResult_t));
static_assert(sizeof(ours::NcclDataType) == sizeof(ncclDataType_t));
static_assert(sizeof(ours::NcclReduction) == sizeof(ncclRedOp_t));

/// Our types in the place of theirs.
template <typename T>
struct Ours {
  using type = T;
};
template <>
struct Ours<ncclResult_t> {
  using type = ours::NcclResult;
};
template <>
struct Ours<ncclDataType_t> {
  using type = ours::NcclDataType;
};
template <>
struct Ours<ncclRedOp_t> {
  using type = ours::NcclReduction;
};
template <>
struct Ours<ncclComm_t> {
  using type = ours::NcclHandle;
};
template <>
struct Ours<ncclComm_t*> {
  using type = ours::NcclHandle*;
};
template <typename Result, typename... Parameters>
auto translated(Result (*)(Parameters...)) ->
    typename Ours<Result>::type (*)(typename Ours<Parameters>::type...);

#define SAME(result, name, parameters) \
  static_assert(std::is_same_v<decltype(translated(&::name)), decltype(ours::Nccl::name)>, #name);
ERNIE_IMAGE_NCCL(SAME)

}  // namespace
