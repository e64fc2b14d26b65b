#include "core/trace.h"

#include <memory>
#include <span>

namespace ernie_image {

void TensorTrace::record(const std::string& name, const TracedTensor& tensor) {
  record(name, *static_cast<const Tensor*>(tensor.owner.get()));  // as record_tensor() made it
}

void record_tensor(Trace& trace, const std::string& name, const Tensor& host) {
  // A copy of the tensor is another owner of its memory.
  trace.record(name, {std::string(dtype_name(host.dtype())), host.shape(),
                      std::span(host.bytes(), host.size_bytes()), std::make_shared<Tensor>(host)});
}

}  // namespace ernie_image
