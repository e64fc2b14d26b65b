#include "backend/ascend/call.h"

namespace ernie_image::ascend {
namespace {

aclTensor* create_tensor(const View& view) {
  // The storage is given as one flat length: what counts are strides and offset.
  const aclFormat format = view.format.value_or(format_of_rank(view.shape.size()));
  aclTensor* const tensor = cann().aclCreateTensor(
      view.shape.data(), view.shape.size(), acl_dtype(view.dtype), view.strides.data(), view.offset,
      format, &view.storage, 1, view.block);
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

void Stream::release_workspace() {
  queue().synchronize();  // queued work may be using it
  workspace_ = card::DeviceBlock();
  workspace(least_workspace_bytes_);
}

void* Stream::workspace(std::uint64_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > workspace_.bytes()) {
    queue().synchronize();  // queued work may be using the old one
    workspace_ = card::DeviceBlock();
    if (!device().has_room(bytes) || device().free_bytes() < bytes) memory().release_cache();
    workspace_ = card::DeviceBlock(device(), bytes);
  }
  return workspace_.data();
}

}  // namespace ernie_image::ascend
