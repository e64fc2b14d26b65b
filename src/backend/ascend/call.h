// The two-phase call of aclnn, written once: descriptors made from views, phase 1, workspace,
// phase 2, and an error that names operation, types and shapes.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/ascend/derived.h"
#include "backend/ascend/device.h"
#include "backend/ascend/view.h"
#include "backend/card/stream.h"
#include "core/tensor.h"

namespace ernie_image::ascend {

struct Scalar {
  float value;
};
struct Integers {
  std::vector<std::int64_t> values;
  bool present = true;  ///< false: the null pointer of an optional parameter
};
struct ViewList {
  std::vector<View> views;
};

/// Objects of aclnn for the time of one call; they may go once phase 2 has returned.
class TensorObject {
 public:
  explicit TensorObject(const View& view);
  ~TensorObject();
  TensorObject(const TensorObject&) = delete;
  TensorObject& operator=(const TensorObject&) = delete;
  aclTensor* get() const { return tensor_; }

 private:
  aclTensor* tensor_ = nullptr;
};

class ListObject {
 public:
  explicit ListObject(const ViewList& list);
  ~ListObject();  // with the tensors in it, as aclDestroyTensorList does
  ListObject(const ListObject&) = delete;
  ListObject& operator=(const ListObject&) = delete;
  aclTensorList* get() const { return list_; }

 private:
  aclTensorList* list_ = nullptr;
};

class ScalarObject {
 public:
  explicit ScalarObject(Scalar scalar);
  ~ScalarObject();
  ScalarObject(const ScalarObject&) = delete;
  ScalarObject& operator=(const ScalarObject&) = delete;
  aclScalar* get() const { return scalar_; }

 private:
  aclScalar* scalar_ = nullptr;
};

class IntegersObject {
 public:
  explicit IntegersObject(const Integers& integers);
  ~IntegersObject();
  IntegersObject(const IntegersObject&) = delete;
  IntegersObject& operator=(const IntegersObject&) = delete;
  aclIntArray* get() const { return array_; }

 private:
  aclIntArray* array_ = nullptr;
};

/// A blank before a word of a description. Not `" " + text`, in which GCC 12 sees an overlap that
/// is not there (its bug 105651).
inline std::string word(const std::string& text) { return std::string(1, ' ').append(text); }

/// How a parameter is held during a call: objects for what aclnn has objects for, else itself.
template <typename T>
struct Held {
  T value;
  explicit Held(const T& v) : value(v) {}
  T get() const { return value; }
  static std::string text(const T&) { return ""; }
};
template <>
struct Held<View> : TensorObject {
  using TensorObject::TensorObject;
  static std::string text(const View& view) { return word(to_string(view)); }
};
template <>
struct Held<Tensor> : TensorObject {
  explicit Held(const Tensor& tensor) : TensorObject(View(tensor)) {}
  static std::string text(const Tensor& tensor) { return word(to_string(View(tensor))); }
};
template <>
struct Held<ViewList> : ListObject {
  using ListObject::ListObject;
  static std::string text(const ViewList& list);
};
template <>
struct Held<Scalar> : ScalarObject {
  using ScalarObject::ScalarObject;
  static std::string text(Scalar scalar) { return word(std::to_string(scalar.value)); }
};
template <>
struct Held<Integers> : IntegersObject {
  using IntegersObject::IntegersObject;
  static std::string text(const Integers& integers);
};

/// A card's queue that takes operations.
class Stream : public card::Stream {
 public:
  explicit Stream(int device_index) : card::Stream(std::make_shared<Device>(device_index)) {}
  /// Of a rehearsal in the place of `rehearsed`, with the workspace that operations ask for at
  /// least.
  Stream(std::shared_ptr<const card::Device> device, const Stream& rehearsed)
      : card::Stream(std::move(device)),
        least_workspace_bytes_(std::max(kLeastWorkspaceBytes, rehearsed.learned_workspace_bytes_)),
        trusts_fused_group_norm_(rehearsed.trusts_fused_group_norm_) {
    release_workspace();
  }
  ~Stream() { queue().try_synchronize(); }  // the workspace may still be in use

  /// operation(arguments...), queued. An operation on nothing, a result without elements, must not
  /// come here.
  template <typename... Parameters, typename... Arguments>
  void call(const Operation<Parameters...>& operation, const Arguments&... arguments);

  /// The operation that is called next is going to ask for so much: a rehearsal has only this to
  /// know it by.
  void expect_workspace(std::size_t bytes) {
    workspace(bytes);
    is_expected_ = true;
  }
  /// Of the stage that ends: the next one, which may need less, has its own.
  void release_workspace();

  DerivedTensors& derived() { return derived_; }

  /// Whether it has passed its test (operations.h).
  bool trusts_fused_group_norm() const { return trusts_fused_group_norm_; }
  void trust_fused_group_norm(bool trusts) { trusts_fused_group_norm_ = trusts; }

 private:
  /// Of the fused attention; what it takes beyond that only a card can tell.
  static constexpr std::size_t kLeastWorkspaceBytes = std::size_t{16} << 20;

  void* workspace(std::uint64_t bytes);

  card::DeviceBlock workspace_;  // grows to the most that any operation of the stage asked for
  std::size_t least_workspace_bytes_ = 0;    // of a rehearsal
  std::size_t learned_workspace_bytes_ = 0;  // by operations that nobody knew it of
  bool is_expected_ = false;
  DerivedTensors derived_;
  bool trusts_fused_group_norm_ = false;
};

template <typename... Parameters, typename... Arguments>
void Stream::call(const Operation<Parameters...>& operation, const Arguments&... arguments) {
  if (device().rehearses()) return;
  begin_call();
  const auto described = [&](const char* phase) {
    std::string text = operation.name + std::string(phase) + " of";
    ((text += Held<Arguments>::text(arguments)), ...);
    return text;
  };
  std::tuple<Held<Arguments>...> held(arguments...);
  std::uint64_t bytes = 0;
  aclOpExecutor* executor = nullptr;
  const aclnnStatus planned = std::apply(
      [&](const auto&... object) { return operation.plan(object.get()..., &bytes, &executor); },
      held);
  if (planned != 0) require(planned, described("GetWorkspaceSize"));
  if (!std::exchange(is_expected_, false))
    learned_workspace_bytes_ = std::max<std::size_t>(learned_workspace_bytes_, bytes);
  const aclnnStatus launched =
      operation.launch(workspace(bytes), bytes, executor, queue().handle());
  if (launched != 0) require(launched, described(""));
}

}  // namespace ernie_image::ascend
