#include "backend/ascend/call.h"

#include "backend/ascend/upload.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {
namespace {

aclTensor* create_tensor(const View& view) {
  // The storage is given as one flat length: what counts are strides and offset.
  std::int64_t reach = view.offset + 1;
  for (std::size_t i = 0; i < view.shape.size(); ++i)
    reach += (view.shape[i] - 1) * view.strides[i];
  aclTensor* const tensor =
      cann().aclCreateTensor(view.shape.data(), view.shape.size(), acl_dtype(view.dtype),
                             view.strides.data(), view.offset, view.format, &reach, 1, view.block);
  if (tensor == nullptr) require(-1, "aclCreateTensor " + to_string(view));
  return tensor;
}

}  // namespace

TensorObject::TensorObject(const View& view) {
  if (!view.empty()) tensor_ = create_tensor(view);
}

TensorObject::~TensorObject() {
  if (tensor_ != nullptr) cann().aclDestroyTensor(tensor_);
}

ListObject::ListObject(const ViewList& list) {
  std::vector<const aclTensor*> tensors;
  for (const View& view : list.views) tensors.push_back(create_tensor(view));
  list_ = cann().aclCreateTensorList(tensors.data(), tensors.size());
}

ListObject::~ListObject() { cann().aclDestroyTensorList(list_); }

ScalarObject::ScalarObject(Scalar scalar)
    : scalar_(cann().aclCreateScalar(&scalar.value, ACL_FLOAT)) {}

ScalarObject::~ScalarObject() { cann().aclDestroyScalar(scalar_); }

IntegersObject::IntegersObject(const Integers& integers) {
  if (integers.present)
    array_ = cann().aclCreateIntArray(integers.values.data(), integers.values.size());
}

IntegersObject::~IntegersObject() {
  if (array_ != nullptr) cann().aclDestroyIntArray(array_);
}

std::string Held<ViewList>::text(const ViewList& list) {
  std::string text;
  for (const View& view : list.views) text += word(to_string(view));
  return text;
}

std::string Held<Integers>::text(const Integers& integers) {
  return word(integers.present ? ernie_image::to_string(integers.values) : "none");
}

Stream::Stream(int device_index)
    : device_(std::make_shared<Device>(device_index)),
      queue_(std::make_shared<Queue>()),
      memory_(std::make_shared<MemoryPool>(device_, queue_)),
      staging_(std::make_unique<Staging>()) {}

Stream::~Stream() {
  // The workspace may still be in use.
  if (device_->try_bind()) cann().aclrtSynchronizeStream(queue_->get());
}

Tensor Stream::empty(DType dtype, Shape shape) const {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(num_elements(shape), size_of(dtype), &bytes)) {
    throw Error(ErrorKind::out_of_memory, name() + ": a tensor " + ernie_image::to_string(shape) +
                                              " is larger than any memory");
  }
  std::shared_ptr<std::byte> block = memory_->allocate(bytes);
  std::byte* const data = block.get();
  return {dtype, std::move(shape), data, std::move(block)};
}

void Stream::begin_call() const {
  if (cancel_ != nullptr) cancel_->throw_if_requested();
  device_->bind();
}

void* Stream::workspace(std::uint64_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > workspace_.bytes()) {
    queue_->synchronize();  // queued work may be using the old one
    workspace_ = DeviceBlock();
    workspace_ = DeviceBlock(*device_, bytes);
  }
  return workspace_.data();
}

}  // namespace ernie_image::ascend
