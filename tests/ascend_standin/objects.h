// Tensors, scalars and executors of the stand-in: the two-phase call and its rules.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "machine.h"

// Defined where the backend's header declares them.
namespace ernie_image::ascend {
struct aclTensor {
  std::vector<std::int64_t> dims;
  std::vector<std::int64_t> strides;
  std::int64_t offset;
  aclDataType dtype;
  aclFormat format;
  std::int64_t storage;  // elements from `data` to the end of the whole tensor
  std::byte* data;       // device address
};
struct aclTensorList {
  std::vector<const aclTensor*> tensors;
};
struct aclScalar {
  float value;
};
struct aclIntArray {
  std::vector<std::int64_t> values;
};
struct aclOpExecutor {
  std::string operation;
  std::vector<const aclTensor*> tensors;  // must live until phase 2
  std::vector<standin::Range> uses;
  std::uint64_t workspace_bytes;
  standin::Kernels hidden;
  std::function<void()> work;
  std::thread::id thread;  // of phase 1
  int device;
};
}  // namespace ernie_image::ascend

namespace standin {

/// Neither null nor destroyed.
bool is_alive(const aclTensor* tensor);

std::size_t element_bytes(aclDataType dtype);
std::int64_t element_count(const aclTensor& tensor);
bool is_dense(const aclTensor& tensor);
/// The same matrices with their last two axes swapped.
aclTensor transposed(aclTensor tensor);
/// "BF16 [2, 3]"
std::string text_of(const aclTensor& tensor);

/// Phase 1 of an operation, while it is checked.
class Plan {
 public:
  /// `workspace_bytes` is what phase 2 will demand and scribble over.
  Plan(const char* operation, std::uint64_t workspace_bytes = 4096);

  /// Checks address, alignment, reach, storage and format: that of its rank, or ND if there need
  /// not be a picture. Null is an error unless `optional`.
  void input(const aclTensor* tensor, const char* name, bool optional = false,
             bool is_picture = false);
  /// The same, and that it overlaps neither itself nor an input that came before.
  void output(const aclTensor* tensor, const char* name, bool in_place = false,
              bool is_picture = false);
  /// No hidden copy of the matrix if only its last two axes are swapped: products read it so.
  void reads_transposed(const aclTensor& matrix);
  /// One of the strided tensors is what the operation itself copies.
  void copies_itself();
  void count_cast(bool needed) { executor_->hidden.casts += needed ? 1 : 0; }
  /// Refuses with this message and code unless `right`.
  void require(bool right, const std::string& message, int code = kRefused);
  bool refused() const { return status_ != 0; }

  /// Ends phase 1.
  aclnnStatus finish(std::uint64_t* workspace_bytes, aclOpExecutor** executor,
                     std::function<void()> work);

 private:
  void add(const aclTensor* tensor, const char* name, bool optional, bool is_picture);
  void check_storage(const aclTensor& tensor, const std::string& what);

  std::unique_ptr<aclOpExecutor> executor_;
  std::vector<Range> inputs_;
  int status_ = 0;
};

/// Phase 2 of every operation.
aclnnStatus launch(const char* operation, void* workspace, std::uint64_t workspace_bytes,
                   aclOpExecutor* executor, aclrtStream stream);

/// How a result was come by.
enum class Rounding {
  exact,   ///< a copy, or one rounding that every device makes alike
  device,  ///< computed: a card may be a bit off, or have added in another order
};

/// $ASCEND_STANDIN_PERTURB is set: some computed bf16 results are one bit off, and products are
/// added up in another order. What passes then does not depend on the stand-in's bits.
bool is_perturbed();

/// Elements in order, as float; and back, rounded to nearest even.
std::vector<float> read(const aclTensor& tensor);
void write(const aclTensor& tensor, std::vector<float> values,
           Rounding rounding = Rounding::device);

}  // namespace standin
