#include "objects.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace standin {
namespace {

template <typename T>
constexpr const char* kKind = "";
template <>
constexpr const char* kKind<aclTensor> = "tensor";
template <>
constexpr const char* kKind<aclTensorList> = "tensor list";
template <>
constexpr const char* kKind<aclScalar> = "scalar";
template <>
constexpr const char* kKind<aclIntArray> = "array";
template <>
constexpr const char* kKind<aclOpExecutor> = "executor";

/// Everything alive, so that a stale pointer is an error and not a crash.
template <typename T>
class Registry {
 public:
  /// Null before aclInit.
  T* add(std::unique_ptr<T> object) {
    if (require_initialized(kKind<T>) != 0) return nullptr;
    const std::lock_guard lock(mutex_);
    count_object(kKind<T>, 1);
    T* const raw = object.release();
    alive_.insert(raw);
    return raw;
  }
  bool contains(const T* object) {
    const std::lock_guard lock(mutex_);
    return alive_.contains(object);
  }
  /// False if it was not alive.
  bool remove(const T* object) {
    const std::lock_guard lock(mutex_);
    if (alive_.erase(object) == 0) return false;
    count_object(kKind<T>, -1);
    delete object;
    return true;
  }

 private:
  std::mutex mutex_;
  std::set<const T*> alive_;
};

template <typename T>
Registry<T>& registry() {
  static auto* const kRegistry = new Registry<T>;
  return *kRegistry;
}

std::uintptr_t address_of(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

/// The bytes between a tensor's first and last element.
Range range_of(const aclTensor& tensor) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < tensor.dims.size(); ++i)
    last += (tensor.dims[i] - 1) * tensor.strides[i];
  const std::size_t size = element_bytes(tensor.dtype);
  return {address_of(tensor.data) + static_cast<std::size_t>(tensor.offset) * size,
          (static_cast<std::size_t>(last) + 1) * size};
}

/// As torch_npu names formats.
aclFormat format_of_rank(std::size_t rank) {
  constexpr aclFormat kNames[] = {ACL_FORMAT_ND,  ACL_FORMAT_ND,   ACL_FORMAT_ND,
                                  ACL_FORMAT_NCL, ACL_FORMAT_NCHW, ACL_FORMAT_NCDHW};
  return rank < std::size(kNames) ? kNames[rank] : ACL_FORMAT_ND;
}

template <typename T>
aclnnStatus destroy(const T* object) {
  if (registry<T>().remove(object)) return 0;
  const std::string problem = kKind<T> + std::string(" destroyed twice, or never made");
  violation(problem);
  return fail(kNullPointer, problem);
}

/// What forbids phase 2, or "".
std::string misuse(const aclOpExecutor& executor) {
  if (executor.thread != std::this_thread::get_id()) return "phase 1 was on another thread";
  if (executor.device != current_device()) return "phase 1 was for another device";
  return "";
}

std::string workspace_problem(const aclOpExecutor& executor, void* workspace, std::uint64_t bytes) {
  const std::uint64_t asked = executor.workspace_bytes;
  if (asked == 0) return "";
  if (workspace == nullptr || bytes < asked) return "smaller than was asked for";
  if (!is_device_address(workspace)) return "it is not device memory";
  const Range range = {address_of(workspace), asked};
  for (const Range& used : executor.uses)
    if (overlap(used, range)) return "it overlaps a tensor";
  return check_range(range, 0);
}

}  // namespace

bool is_alive(const aclTensor* tensor) { return registry<aclTensor>().contains(tensor); }

std::size_t element_bytes(aclDataType dtype) {
  switch (dtype) {
    case ACL_FLOAT:
      return 4;
    case ACL_BF16:
    case ACL_FLOAT16:
      return 2;
    case ACL_INT64:
      return 8;
    default:
      return 1;
  }
}

std::int64_t element_count(const aclTensor& tensor) {
  std::int64_t count = 1;
  for (const std::int64_t dim : tensor.dims) count *= dim;
  return count;
}

bool is_dense(const aclTensor& tensor) {
  std::int64_t stride = 1;
  for (std::size_t i = tensor.dims.size(); i-- > 0;) {
    if (tensor.dims[i] != 1 && tensor.strides[i] != stride) return false;
    stride *= tensor.dims[i];
  }
  return true;
}

aclTensor transposed(aclTensor tensor) {
  const std::size_t rank = tensor.dims.size();
  std::swap(tensor.dims[rank - 1], tensor.dims[rank - 2]);
  std::swap(tensor.strides[rank - 1], tensor.strides[rank - 2]);
  return tensor;
}

std::string text_of(const aclTensor& tensor) {
  std::string text = tensor.dtype == ACL_FLOAT  ? "FLOAT ["
                     : tensor.dtype == ACL_BF16 ? "BF16 ["
                     : tensor.dtype == ACL_INT8 ? "INT8 ["
                                                : "[";
  for (const std::int64_t dim : tensor.dims) text += std::to_string(dim) + ",";
  text.back() = text.back() == ',' ? ']' : text.back();
  return text;
}

Plan::Plan(const char* operation, std::uint64_t workspace_bytes)
    : executor_(std::make_unique<aclOpExecutor>()) {
  executor_->operation = operation;
  executor_->workspace_bytes = workspace_bytes;
  executor_->thread = std::this_thread::get_id();
  executor_->device = current_device();
  status_ = enter((std::string(operation) + "GetWorkspaceSize").c_str());
}

void Plan::require(bool right, const std::string& message, int code) {
  if (!right && status_ == 0) status_ = fail(code, executor_->operation + ": " + message);
}

/// The storage is that of the whole tensor: it holds every element, lies in one block, and ends
/// with a row. Where it ends within the last row of a slice, the vendor's operators do not see that
/// it is one.
void Plan::check_storage(const aclTensor& tensor, const std::string& what) {
  std::int64_t reach = tensor.offset + 1, widest = 1, rows = 1;
  for (std::size_t i = 0; i < tensor.dims.size(); ++i) {
    reach += (tensor.dims[i] - 1) * tensor.strides[i];
    if (tensor.dims[i] > 1 && tensor.strides[i] > widest) {
      widest = tensor.strides[i];
      rows = tensor.dims[i];
    }
  }
  require(tensor.storage >= reach, what + " reaches past its storage");
  require(is_dense(tensor) || tensor.storage / widest >= rows,
          what + "'s storage ends within its last row: not the length of the whole tensor");
}

void Plan::add(const aclTensor* tensor, const char* name, bool optional, bool is_picture) {
  if (refused() || (tensor == nullptr && optional)) return;
  const std::string what(name);
  require(tensor != nullptr, what + " is null", kNullPointer);
  if (refused()) return;
  require(registry<aclTensor>().contains(tensor), what + " was destroyed");
  if (refused()) return;
  require(is_device_address(tensor->data), what + " is not in device memory");
  require(address_of(tensor->data) % 32 == 0, what + " does not begin at a multiple of 32 bytes");
  require(tensor->offset >= 0, what + " has a negative offset");
  require(tensor->dims.size() <= 8, what + " has more than 8 axes");
  const aclFormat of_rank = format_of_rank(tensor->dims.size());
  require(tensor->format == of_rank || (tensor->format == ACL_FORMAT_ND && !is_picture),
          what + " has format " + std::to_string(tensor->format) + ", expected " +
              std::to_string(of_rank));
  if (refused() || element_count(*tensor) == 0) return;
  check_storage(*tensor, what);
  require(tensor->dtype != ACL_BF16 || chip_name() != "Ascend910B",
          what + " is BF16, which this chip has not");
  if (refused()) return;
  const Range range = range_of(*tensor);
  const std::string problem = check_range(range, 32);
  require(problem.empty(), what + " " + text_of(*tensor) + ": " + problem);
  executor_->tensors.push_back(tensor);
  executor_->uses.push_back(range);
  executor_->hidden.copies += is_dense(*tensor) ? 0 : 1;
}

void Plan::reads_transposed(const aclTensor& matrix) {
  if (!is_dense(matrix) && is_dense(transposed(matrix))) --executor_->hidden.copies;
}

void Plan::copies_itself() {
  if (executor_->hidden.copies > 0) --executor_->hidden.copies;
}

void Plan::input(const aclTensor* tensor, const char* name, bool optional, bool is_picture) {
  add(tensor, name, optional, is_picture);
  if (!refused() && tensor != nullptr && element_count(*tensor) > 0)
    inputs_.push_back(range_of(*tensor));
}

void Plan::output(const aclTensor* tensor, const char* name, bool in_place, bool is_picture) {
  add(tensor, name, false, is_picture);
  if (refused() || element_count(*tensor) == 0) return;
  executor_->uses.back().written = true;
  require(tensor->dtype == ACL_FLOAT || tensor->dtype == ACL_BF16 || tensor->dtype == ACL_INT8,
          std::string(name) + " is not FLOAT, BF16 or INT8, which is all the stand-in computes");
  for (std::size_t i = 0; i < tensor->dims.size(); ++i) {
    require(tensor->dims[i] == 1 || tensor->strides[i] != 0,
            std::string(name) + " overlaps itself");
  }
  for (const Range& input : inputs_) {
    require(in_place || !overlap(input, range_of(*tensor)),
            std::string(name) + " overlaps an input");
  }
}

aclnnStatus Plan::finish(std::uint64_t* workspace_bytes, aclOpExecutor** executor,
                         std::function<void()> work) {
  require(workspace_bytes != nullptr && executor != nullptr, "no place for the results",
          kNullPointer);
  if (refused()) return status_;
  executor_->work = std::move(work);
  *workspace_bytes = executor_->workspace_bytes;
  *executor = registry<aclOpExecutor>().add(std::move(executor_));
  return 0;
}

aclnnStatus launch(const char* operation, void* workspace, std::uint64_t workspace_bytes,
                   aclOpExecutor* executor, aclrtStream stream) {
  if (const int status = enter(operation)) return status;
  const std::string name(operation);
  if (!registry<aclOpExecutor>().contains(executor))
    return fail(kExecutorMisuse, name + ": the executor was used before, or never made");
  if (executor->operation != name)
    return fail(kExecutorMisuse, name + ": the executor is that of " + executor->operation);
  for (const aclTensor* tensor : executor->tensors) {
    if (registry<aclTensor>().contains(tensor)) continue;
    registry<aclOpExecutor>().remove(executor);  // of no use any more
    return fail(kExecutorMisuse, name + ": a tensor was destroyed between the phases");
  }
  if (const std::string problem = misuse(*executor); !problem.empty())
    return fail(kExecutorMisuse, name + ": " + problem);
  const std::uint64_t asked = executor->workspace_bytes;
  const std::string problem = workspace_problem(*executor, workspace, workspace_bytes);
  if (!problem.empty()) return fail(kRefused, name + ": workspace: " + problem);
  std::vector<Range> uses = executor->uses;
  if (asked > 0) uses.push_back({address_of(workspace), asked, true});
  count_launch(executor->hidden);
  const std::uint64_t kernels = executor->hidden.copies + executor->hidden.casts;
  const std::size_t scribbled = std::min<std::uint64_t>(asked, 65536);
  const int status = enqueue(
      stream, name, std::move(uses),
      [workspace, scribbled, work = std::move(executor->work)] {
        if (is_idle()) return;
        if (scribbled > 0) std::memset(real_address(workspace), 0xa5, scribbled);
        work();
      },
      1 + kernels);
  registry<aclOpExecutor>().remove(executor);
  return status;
}

}  // namespace standin

using namespace standin;

extern "C" {

aclTensor* aclCreateTensor(const std::int64_t* dims, std::uint64_t rank, aclDataType dtype,
                           const std::int64_t* strides, std::int64_t offset, aclFormat format,
                           const std::int64_t* storage_dims, std::uint64_t storage_rank,
                           void* data) {
  std::int64_t storage = 1;
  for (std::uint64_t i = 0; i < storage_rank; ++i) storage *= storage_dims[i];
  return registry<aclTensor>().add(
      std::make_unique<aclTensor>(aclTensor{{dims, dims + rank},
                                            {strides, strides + rank},
                                            offset,
                                            dtype,
                                            format,
                                            storage,
                                            static_cast<std::byte*>(data)}));
}

aclScalar* aclCreateScalar(void* value, aclDataType dtype) {
  if (dtype != ACL_FLOAT) return nullptr;
  float number = 0;
  std::memcpy(&number, value, sizeof(number));
  return registry<aclScalar>().add(std::make_unique<aclScalar>(aclScalar{number}));
}

aclIntArray* aclCreateIntArray(const std::int64_t* values, std::uint64_t count) {
  return registry<aclIntArray>().add(
      std::make_unique<aclIntArray>(aclIntArray{{values, values + count}}));
}

aclTensorList* aclCreateTensorList(const aclTensor* const* tensors, std::uint64_t count) {
  return registry<aclTensorList>().add(
      std::make_unique<aclTensorList>(aclTensorList{{tensors, tensors + count}}));
}

aclnnStatus aclDestroyTensor(const aclTensor* tensor) { return destroy(tensor); }
aclnnStatus aclDestroyScalar(const aclScalar* scalar) { return destroy(scalar); }
aclnnStatus aclDestroyIntArray(const aclIntArray* array) { return destroy(array); }

/// With its tensors.
aclnnStatus aclDestroyTensorList(const aclTensorList* list) {
  if (registry<aclTensorList>().contains(list)) {
    for (const aclTensor* tensor : list->tensors) destroy(tensor);
  }
  return destroy(list);
}

}  // extern "C"
