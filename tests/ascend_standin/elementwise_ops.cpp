#include <cmath>

#include "operation.h"

using namespace standin;

namespace standin {

bool broadcast(aclTensor& tensor, const std::vector<std::int64_t>& dims) {
  if (tensor.dims.size() > dims.size()) return false;
  const std::size_t added = dims.size() - tensor.dims.size();
  tensor.dims.insert(tensor.dims.begin(), added, 1);
  tensor.strides.insert(tensor.strides.begin(), added, 0);
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (tensor.dims[i] == dims[i]) continue;
    if (tensor.dims[i] != 1) return false;
    tensor.dims[i] = dims[i];
    tensor.strides[i] = 0;
  }
  return true;
}

}  // namespace standin

namespace {

/// How an operation comes by one type for all operands: bf16 beside float is widened.
enum class Widening {
  in_kernel,  ///< Add, Sub, Mul: the kernel takes both
  by_casts,   ///< a Cast of each operand that differs
  is_itself,  ///< Cast
  of_a_copy,  ///< InplaceCopy, which reads or writes one strided tensor by itself
};

void count_casts(Plan& plan, const std::vector<const aclTensor*>& operands, const aclTensor& out,
                 Widening widening) {
  if (widening == Widening::is_itself) return;
  if (widening == Widening::of_a_copy) plan.copies_itself();
  aclDataType common = operands[0]->dtype;
  for (const aclTensor* operand : operands)
    if (operand->dtype != common) common = ACL_FLOAT;
  for (const aclTensor* operand : operands)
    plan.count_cast(widening == Widening::by_casts && operand->dtype != common);
  plan.count_cast(out.dtype != common);
}

/// out[i] = function(values of the operands at i), broadcast to the shape of `out`.
template <typename Function>
aclnnStatus map(Plan& plan, std::vector<const aclTensor*> operands, aclTensor* out,
                std::uint64_t* workspace_bytes, aclOpExecutor** executor, Function function,
                Rounding rounding = Rounding::device, Widening widening = Widening::in_kernel) {
  std::vector<aclTensor> copies;
  for (const aclTensor* operand : operands) plan.input(operand, "an operand");
  plan.output(out, "out");
  if (!plan.refused()) {
    for (const aclTensor* operand : operands) {
      copies.push_back(*operand);
      plan.require(is_float(operand->dtype), "an operand is not of a float type");
      plan.require(broadcast(copies.back(), out->dims),
                   text_of(*operand) + " cannot be broadcast to " + text_of(*out));
    }
    plan.require(out->dtype == ACL_FLOAT || out->dtype == ACL_BF16, "out is not of a float type");
  }
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  count_casts(plan, operands, *out, widening);
  return plan.finish(workspace_bytes, executor, [copies, target = *out, function, rounding] {
    std::vector<Values> values;
    for (const aclTensor& copy : copies) values.push_back(read(copy));
    Values result(values[0].size());
    for (std::size_t i = 0; i < result.size(); ++i) {
      result[i] = function(values[0][i], values.size() > 1 ? values[1][i] : 0.0f,
                           values.size() > 2 ? values[2][i] : 0.0f);
    }
    write(target, std::move(result), rounding);
  });
}

}  // namespace

STANDIN_OPERATION(Add, const aclTensor* a, const aclTensor* b, const aclScalar* alpha,
                  aclTensor* out) {
  Plan plan("aclnnAdd");
  plan.require(alpha != nullptr, "alpha is null", kNullPointer);
  const float factor = alpha == nullptr ? 1 : alpha->value;
  return map(plan, {a, b}, out, workspace_bytes, executor,
             [factor](float x, float y, float) { return x + factor * y; });
}

STANDIN_OPERATION(Sub, const aclTensor* a, const aclTensor* b, const aclScalar* alpha,
                  aclTensor* out) {
  Plan plan("aclnnSub");
  plan.require(alpha != nullptr, "alpha is null", kNullPointer);
  const float factor = alpha == nullptr ? 1 : alpha->value;
  return map(plan, {a, b}, out, workspace_bytes, executor,
             [factor](float x, float y, float) { return x - factor * y; });
}

STANDIN_OPERATION(Adds, const aclTensor* a, const aclScalar* b, const aclScalar* alpha,
                  aclTensor* out) {
  Plan plan("aclnnAdds", 0);
  plan.require(b != nullptr && alpha != nullptr, "a scalar is null", kNullPointer);
  const float sum = b == nullptr || alpha == nullptr ? 0 : b->value * alpha->value;
  return map(plan, {a}, out, workspace_bytes, executor,
             [sum](float x, float, float) { return x + sum; });
}

STANDIN_OPERATION(Mul, const aclTensor* a, const aclTensor* b, aclTensor* out) {
  Plan plan("aclnnMul");
  return map(plan, {a, b}, out, workspace_bytes, executor,
             [](float x, float y, float) { return x * y; });
}

STANDIN_OPERATION(Muls, const aclTensor* a, const aclScalar* b, aclTensor* out) {
  Plan plan("aclnnMuls", 0);
  plan.require(b != nullptr, "the scalar is null", kNullPointer);
  const float factor = b == nullptr ? 0 : b->value;
  return map(plan, {a}, out, workspace_bytes, executor,
             [factor](float x, float, float) { return x * factor; });
}

STANDIN_OPERATION(Addcmul, const aclTensor* x, const aclTensor* a, const aclTensor* b,
                  const aclScalar* value, aclTensor* out) {
  Plan plan("aclnnAddcmul");
  plan.require(value != nullptr, "the scalar is null", kNullPointer);
  const float factor = value == nullptr ? 0 : value->value;
  return map(
      plan, {x, a, b}, out, workspace_bytes, executor,
      [factor](float s, float p, float q) { return s + factor * (p * q); }, Rounding::device,
      Widening::by_casts);
}

STANDIN_OPERATION(Silu, const aclTensor* x, aclTensor* out) {
  Plan plan("aclnnSilu");
  if (is_alive(x) && is_alive(out)) plan.require(x->dtype == out->dtype, "dtypes differ");
  return map(plan, {x}, out, workspace_bytes, executor,
             [](float v, float, float) { return v / (1.0f + std::exp(-v)); });
}

STANDIN_OPERATION(GeluV2, const aclTensor* x, std::int64_t approximate, aclTensor* out) {
  Plan plan("aclnnGeluV2");
  plan.require(approximate == 0 || approximate == 1, "approximate is neither 0 nor 1");
  if (is_alive(x) && is_alive(out)) plan.require(x->dtype == out->dtype, "dtypes differ");
  return map(plan, {x}, out, workspace_bytes, executor, [approximate](float v, float, float) {
    const double z = v;
    const double tanh_form = 0.5 * z * (1 + std::tanh(0.7978845608 * (z + 0.044715 * z * z * z)));
    const double erf_form = 0.5 * z * std::erfc(-z * std::sqrt(0.5));
    return static_cast<float>(approximate == 1 ? tanh_form : erf_form);
  });
}

STANDIN_OPERATION(Cast, const aclTensor* x, const aclDataType dtype, aclTensor* out) {
  Plan plan("aclnnCast");
  if (is_alive(out)) plan.require(out->dtype == dtype, "out is not of the dtype asked for");
  return map(
      plan, {x}, out, workspace_bytes, executor, [](float v, float, float) { return v; },
      Rounding::exact, Widening::is_itself);
}

STANDIN_OPERATION(InplaceCopy, aclTensor* target, const aclTensor* source) {
  Plan plan("aclnnInplaceCopy");
  return map(
      plan, {source}, target, workspace_bytes, executor, [](float v, float, float) { return v; },
      Rounding::exact, Widening::of_a_copy);
}

STANDIN_OPERATION(InplaceFillScalar, aclTensor* target, const aclScalar* value) {
  Plan plan("aclnnInplaceFillScalar", 0);
  plan.require(value != nullptr, "the scalar is null", kNullPointer);
  plan.output(target, "target", true);
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  return plan.finish(workspace_bytes, executor, [copy = *target, number = value->value] {
    write(copy, Values(static_cast<std::size_t>(element_count(copy)), number), Rounding::exact);
  });
}

STANDIN_OPERATION(InplaceMaskedFillScalar, aclTensor* target, const aclTensor* mask,
                  const aclScalar* value) {
  Plan plan("aclnnInplaceMaskedFillScalar");
  plan.require(value != nullptr, "the scalar is null", kNullPointer);
  plan.input(mask, "mask");
  plan.output(target, "target", true);
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  aclTensor where = *mask;
  plan.require(mask->dtype == ACL_BOOL, "the mask is not BOOL");
  plan.require(broadcast(where, target->dims), "the mask cannot be broadcast to the target");
  return plan.finish(workspace_bytes, executor, [where, copy = *target, number = value->value] {
    Values values = read(copy);
    const Values hidden = read(where);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = hidden[i] != 0 ? number : values[i];
    write(copy, std::move(values), Rounding::exact);
  });
}

STANDIN_OPERATION(Permute, const aclTensor* x, const aclIntArray* axes, aclTensor* out) {
  Plan plan("aclnnPermute");
  plan.require(axes != nullptr, "axes is null", kNullPointer);
  plan.input(x, "x");
  plan.output(out, "out");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  plan.require(x->dtype == out->dtype, "dtypes differ");
  plan.require(axes->values.size() == x->dims.size(), "as many axes as x has are needed");
  if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
  aclTensor seen = *x;
  for (std::size_t i = 0; i < seen.dims.size(); ++i) {
    const auto from = static_cast<std::size_t>(axes->values[i]);
    plan.require(from < x->dims.size(), "there is no such axis");
    if (plan.refused()) return plan.finish(workspace_bytes, executor, nullptr);
    seen.dims[i] = x->dims[from];
    seen.strides[i] = x->strides[from];
  }
  plan.require(seen.dims == out->dims, "out has another shape than the permuted x");
  return plan.finish(workspace_bytes, executor,
                     [seen, copy = *out] { write(copy, read(seen), Rounding::exact); });
}
