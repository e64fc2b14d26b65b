#include "adapters/adapter_module.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <set>

#include "adapters/weight_rows.h"
#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

using Part = AdapterPart;
using Kind = AdapterModule::Kind;

/// A 1x1 convolution's factors are matrices.
Shape matrix_shape(const Shape& shape) {
  Shape matrix = shape;
  while (matrix.size() > 2 && matrix.back() == 1) matrix.pop_back();
  return matrix;
}

bool is_matrix(Part part) {
  static const std::set<Part> kMatrices = {
      Part::down,     Part::up,       Part::embedding_down, Part::embedding_up, Part::kron_1,
      Part::kron_1_a, Part::kron_1_b, Part::kron_2,         Part::kron_2_a,     Part::kron_2_b,
      Part::hada_1_a, Part::hada_1_b, Part::hada_2_a,       Part::hada_2_b};
  return kMatrices.contains(part);
}

/// Which kind of adapter a part belongs to; nothing for those that go with any.
std::optional<AdapterModule::Kind> kind_of(Part part) {
  switch (part) {
    case Part::down:
    case Part::up:
    case Part::up_bias:
      return Kind::low_rank;
    case Part::embedding_down:
    case Part::embedding_up:
      return Kind::table;
    case Part::kron_1:
    case Part::kron_1_a:
    case Part::kron_1_b:
    case Part::kron_2:
    case Part::kron_2_a:
    case Part::kron_2_b:
      return Kind::kronecker;
    case Part::hada_1_a:
    case Part::hada_1_b:
    case Part::hada_2_a:
    case Part::hada_2_b:
      return Kind::hadamard;
    case Part::difference:
    case Part::replacement:
      return Kind::full;
    default:
      return std::nullopt;
  }
}

Tensor values_of(const AdapterModule& module, Part part) {
  return weight_values(*module.part(part));
}

/// target[k] += factor * row[k]
void add_scaled(float factor, const float* row, std::int64_t count, float* target) {
  for (std::int64_t k = 0; k < count; ++k) target[k] += factor * row[k];
}

}  // namespace

// ---- reading -----------------------------------------------------------------------------------

AdapterModule::AdapterModule(const std::string& file, const Module& module, Parts parts,
                             const AdapterConfig* config, bool is_peft)
    : file_(file), module_(module), parts_(std::move(parts)) {
  std::string kind_key;
  for (auto& [part, weight] : parts_) {
    if (part == Part::tucker) {
      throw Error(ErrorKind::unsupported, file_ + ": " + printable(weight.name) +
                                              ": a factor of a convolution's kernel, which no "
                                              "layer of this model has");
    }
    if (is_matrix(part)) {
      weight.shape = matrix_shape(weight.shape);
      if (weight.shape.size() != 2)
        fail(printable(weight.name) + " has the shape " + to_string(weight.shape) +
             ", expected a matrix");
    }
    const auto kind = kind_of(part);
    if (!kind) continue;
    if (kind_ != Kind::bias_only && kind_ != *kind)
      fail(printable(weight.name) + " and " + printable(kind_key) +
           " belong to two kinds of adapters, expected one for a module");
    kind_ = *kind;
    kind_key = weight.name;
  }
  if (module_.kind == Module::Kind::idle) return;
  if (kind_ == Kind::low_rank) set_low_rank();
  if (kind_ == Kind::kronecker) set_kronecker(config, is_peft);
  if (kind_ == Kind::hadamard) set_hadamard();
  if (kind_ == Kind::full) set_full();
  if (kind_ == Kind::table) set_table();
  const bool is_scaled = kind_ == Kind::low_rank || kind_ == Kind::hadamard || kind_ == Kind::table;
  if (is_scaled) scale_ = scale_of(config);
  set_magnitude();
  check_biases();
}

void AdapterModule::fail(const std::string& problem) const {
  throw Error(ErrorKind::corrupt_file, file_ + ": " + module_.name + ": " + problem);
}

const Weight* AdapterModule::part(AdapterPart part) const {
  const auto found = parts_.find(part);
  return found == parts_.end() ? nullptr : &found->second;
}

bool AdapterModule::changes_bias() const {
  return part(Part::up_bias) != nullptr || part(Part::bias_difference) != nullptr;
}

const Weight& AdapterModule::require(AdapterPart wanted, const char* what) const {
  const Weight* const found = part(wanted);
  if (found != nullptr) return *found;
  fail(std::string("has no ") + what + " beside " + printable(parts_.begin()->second.name));
}

void AdapterModule::require_shape(AdapterPart wanted, const Shape& expected) const {
  const Weight& weight = parts_.at(wanted);
  if (weight.shape == expected) return;
  fail(printable(weight.name) + " has the shape " + to_string(weight.shape) + ", expected " +
       to_string(expected) + " for the weight " + to_string(module_.shape) +
       "; the adapter was made for another model");
}

/// alpha / r of a tensor, else of the configuration, else 1.
double AdapterModule::scale_of(const AdapterConfig* config) const {
  const Weight* const tensor = part(Part::alpha);
  const auto rank = static_cast<double>(rank_);
  if (tensor == nullptr) {
    if (config == nullptr) return 1;
    const double alpha = config->alpha(module_.name);
    return alpha / (config->uses_rslora() ? std::sqrt(rank) : rank);
  }
  if (num_elements(tensor->shape) != 1)
    fail(printable(tensor->name) + " has the shape " + to_string(tensor->shape) +
         ", expected one number");
  const double alpha = weight_values(*tensor).data<float>()[0];
  if (!std::isfinite(alpha)) fail(printable(tensor->name) + " is not finite");
  return alpha / rank;
}

void AdapterModule::set_low_rank() {
  const Weight& down = require(Part::down, "first factor (lora_A, lora_down)");
  require(Part::up, "second factor (lora_B, lora_up)");
  if (module_.kind != Module::Kind::linear) fail("is no linear layer, expected one for LoRA");
  rank_ = down.shape[0];
  if (rank_ < 1) fail(printable(down.name) + " has rank 0, expected at least 1");
  require_shape(Part::down, {rank_, module_.shape[1]});
  require_shape(Part::up, {module_.shape[0], rank_});
}

void AdapterModule::set_kronecker(const AdapterConfig* config, bool is_peft) {
  if (module_.kind != Module::Kind::linear) fail("is no linear layer, expected one for LoKr");
  std::int64_t ranks[2] = {};
  Shape shapes[2];
  const Part whole[] = {Part::kron_1, Part::kron_2};
  const Part first[] = {Part::kron_1_a, Part::kron_2_a};
  const Part second[] = {Part::kron_1_b, Part::kron_2_b};
  for (int i = 0; i < 2; ++i) {
    if (const Weight* const factor = part(whole[i])) {
      if (part(first[i]) != nullptr || part(second[i]) != nullptr)
        fail(printable(factor->name) + " stands beside factors of it, expected one of the two");
      shapes[i] = factor->shape;
      continue;
    }
    const Weight& a = require(first[i], i == 0 ? "lokr_w1 or lokr_w1_a" : "lokr_w2 or lokr_w2_a");
    const Weight& b = require(second[i], i == 0 ? "lokr_w1_b" : "lokr_w2_b");
    ranks[i] = a.shape[1];
    if (ranks[i] < 1 || b.shape[0] != ranks[i])
      fail(printable(a.name) + " " + to_string(a.shape) + " and " + printable(b.name) + " " +
           to_string(b.shape) + " cannot be multiplied");
    shapes[i] = {a.shape[0], b.shape[1]};
  }
  for (int axis = 0; axis < 2; ++axis) {
    const std::int64_t outer = shapes[0][axis], inner = shapes[1][axis];
    const std::int64_t size = module_.shape[axis];
    if (outer < 1 || inner < 1 || size % outer != 0 || size / outer != inner)
      fail("the Kronecker product of " + to_string(shapes[0]) + " and " + to_string(shapes[1]) +
           " is not as large as the weight " + to_string(module_.shape) +
           "; the adapter was made for another model");
  }
  rank_ = ranks[1] > 0 ? ranks[1] : ranks[0];
  if (is_peft && config != nullptr && part(Part::alpha) == nullptr) {
    const double rank = config->rank(module_.name);
    if (!(rank > 0)) fail("the rank r in adapter_config.json is not above 0");
    scale_ = config->alpha(module_.name) / rank;
  } else if (rank_ > 0) {
    scale_ = scale_of(config);
  }
}

void AdapterModule::set_hadamard() {
  if (module_.kind != Module::Kind::linear) fail("is no linear layer, expected one for LoHa");
  rank_ = require(Part::hada_1_a, "hada_w1_a").shape[1];
  const std::int64_t second = require(Part::hada_2_a, "hada_w2_a").shape[1];
  require(Part::hada_1_b, "hada_w1_b");
  require(Part::hada_2_b, "hada_w2_b");
  if (rank_ < 1 || second < 1) fail("has factors of rank 0, expected at least 1");
  require_shape(Part::hada_1_a, {module_.shape[0], rank_});
  require_shape(Part::hada_1_b, {rank_, module_.shape[1]});
  require_shape(Part::hada_2_a, {module_.shape[0], second});
  require_shape(Part::hada_2_b, {second, module_.shape[1]});
}

void AdapterModule::set_full() {
  if (part(Part::difference) != nullptr && part(Part::replacement) != nullptr)
    fail("has both a difference and a replacement, expected one");
  if (module_.kind == Module::Kind::embedding) {
    throw Error(ErrorKind::unsupported,
                file_ + ": " + module_.name +
                    ": a full difference of the embedding table; only one of low rank "
                    "(lora_embedding_A and _B) is supported");
  }
  const Part which = part(Part::difference) != nullptr ? Part::difference : Part::replacement;
  Weight& weight = parts_.at(which);
  if (weight.shape != module_.shape) weight.shape = matrix_shape(weight.shape);
  require_shape(which, module_.shape);
}

void AdapterModule::set_table() {
  if (module_.kind != Module::Kind::embedding)
    fail("is no embedding table, expected one for lora_embedding_A and _B");
  const Weight& down = require(Part::embedding_down, "lora_embedding_A");
  require(Part::embedding_up, "lora_embedding_B");
  rank_ = down.shape[0];
  if (rank_ < 1) fail(printable(down.name) + " has rank 0, expected at least 1");
  require_shape(Part::embedding_down, {rank_, module_.shape[0]});
  require_shape(Part::embedding_up, {module_.shape[1], rank_});
}

void AdapterModule::set_magnitude() {
  const Weight* const magnitude = part(Part::magnitude);
  if (magnitude == nullptr) return;
  if (kind_ == Kind::bias_only) fail("has no factors beside " + printable(magnitude->name));
  if (module_.kind != Module::Kind::linear) {
    throw Error(ErrorKind::unsupported,
                file_ + ": " + printable(magnitude->name) + ": DoRA of what is no linear layer");
  }
  const std::int64_t outputs = module_.shape[0], inputs = module_.shape[1];
  const Shape shape = matrix_shape(magnitude->shape);
  // PEFT's are of rows always, of a convolution [1, outputs, 1, 1].
  const bool is_pefts = magnitude->name.find("lora_magnitude_vector") != std::string::npos;
  if (shape == Shape{outputs} || shape == Shape{outputs, 1} ||
      (is_pefts && shape == Shape{1, outputs})) {
    norm_ = Norm::rows;
  } else if (shape == Shape{1, inputs}) {
    norm_ = Norm::columns;
  } else {
    fail(printable(magnitude->name) + " has the shape " + to_string(magnitude->shape) +
         ", expected [" + std::to_string(outputs) + "], [" + std::to_string(outputs) +
         ", 1] or [1, " + std::to_string(inputs) + "]");
  }
}

void AdapterModule::check_biases() {
  for (const Part which : {Part::up_bias, Part::bias_difference}) {
    if (part(which) == nullptr) continue;
    if (module_.kind != Module::Kind::linear)
      fail(printable(part(which)->name) + ": only linear layers have a bias");
    require_shape(which, {module_.shape[0]});
  }
}

// ---- the difference ----------------------------------------------------------------------------

Tensor matrix_product(const Tensor& a, const Tensor& b) {
  const std::int64_t rows = a.dim(0), depth = a.dim(1), columns = b.dim(1);
  Tensor c = Tensor::host(DType::f32, {rows, columns});
  for_each_row_block(rows, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t i = begin; i < begin + count; ++i) {
      for (std::int64_t k = 0; k < depth; ++k) {
        add_scaled(a.data<float>()[i * depth + k], b.data<float>() + k * columns, columns,
                   c.data<float>() + i * columns);
      }
    }
  });
  return c;
}

KroneckerFactors kronecker_factors(const AdapterModule& module) {
  const auto factor = [&](Part whole, Part a, Part b) {
    return module.part(whole) != nullptr
               ? values_of(module, whole)
               : matrix_product(values_of(module, a), values_of(module, b));
  };
  return {factor(Part::kron_1, Part::kron_1_a, Part::kron_1_b),
          factor(Part::kron_2, Part::kron_2_a, Part::kron_2_b)};
}

LowRankFactors hadamard_factors(const AdapterModule& module) {
  const Tensor a1 = values_of(module, Part::hada_1_a), b1 = values_of(module, Part::hada_1_b);
  const Tensor a2 = values_of(module, Part::hada_2_a), b2 = values_of(module, Part::hada_2_b);
  const std::int64_t outputs = a1.dim(0), inputs = b1.dim(1), r1 = a1.dim(1), r2 = a2.dim(1);
  LowRankFactors factors{Tensor::host(DType::f32, {r1 * r2, inputs}),
                         Tensor::host(DType::f32, {outputs, r1 * r2})};
  for (std::int64_t p = 0; p < r1; ++p) {
    for (std::int64_t q = 0; q < r2; ++q) {
      const float* const first = b1.data<float>() + p * inputs;
      const float* const second = b2.data<float>() + q * inputs;
      float* const row = factors.down.data<float>() + (p * r2 + q) * inputs;
      for (std::int64_t k = 0; k < inputs; ++k) row[k] = first[k] * second[k];
    }
  }
  float* up = factors.up.data<float>();
  for (std::int64_t n = 0; n < outputs; ++n) {
    for (std::int64_t p = 0; p < r1; ++p) {
      for (std::int64_t q = 0; q < r2; ++q)
        *up++ = a1.data<float>()[n * r1 + p] * a2.data<float>()[n * r2 + q];
    }
  }
  return factors;
}

namespace {

/// Rows [begin, begin + count) of a b, which are weights of a file.
void product_rows(const Weight& a, const Weight& b, std::int64_t begin, std::int64_t count,
                  float* target) {
  const std::int64_t depth = a.shape[1], columns = b.shape[1];
  std::vector<float> left(static_cast<std::size_t>(count * depth));
  std::vector<float> row(static_cast<std::size_t>(columns));
  read_rows(a, begin, count, left.data());
  std::fill_n(target, count * columns, 0.0f);
  for (std::int64_t k = 0; k < depth; ++k) {
    read_rows(b, k, 1, row.data());
    for (std::int64_t i = 0; i < count; ++i)
      add_scaled(left[static_cast<std::size_t>(i * depth + k)], row.data(), columns,
                 target + i * columns);
  }
}

/// Rows of (up down)^T: columns of down [R, V], times up^T [R, H].
void table_rows(const Weight& up, const Weight& down, std::int64_t begin, std::int64_t count,
                float* target) {
  const std::int64_t width = up.shape[0], rank = up.shape[1], rows = down.shape[1];
  const Tensor up_values = weight_values(up);
  std::vector<float> row(static_cast<std::size_t>(rows));
  std::fill_n(target, count * width, 0.0f);
  for (std::int64_t r = 0; r < rank; ++r) {
    read_rows(down, r, 1, row.data());
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t h = 0; h < width; ++h)
        target[i * width + h] +=
            row[static_cast<std::size_t>(begin + i)] * up_values.data<float>()[h * rank + r];
    }
  }
}

/// One row of the first or second factor of LoKr, which may be a product itself.
void factor_row(const AdapterModule& module, Part whole, Part a, Part b, std::int64_t row,
                std::vector<float>& target) {
  if (const Weight* const factor = module.part(whole)) {
    target.resize(static_cast<std::size_t>(factor->shape[1]));
    read_rows(*factor, row, 1, target.data());
  } else {
    target.resize(static_cast<std::size_t>(module.part(b)->shape[1]));
    product_rows(*module.part(a), *module.part(b), row, 1, target.data());
  }
}

void kronecker_rows(const AdapterModule& module, std::int64_t begin, std::int64_t count,
                    float* target) {
  const Weight* const inner_whole = module.part(Part::kron_2);
  const std::int64_t inner_rows =
      (inner_whole != nullptr ? inner_whole : module.part(Part::kron_2_a))->shape[0];
  std::vector<float> outer, inner;
  for (std::int64_t n = begin; n < begin + count; ++n) {
    if (n == begin || n % inner_rows == 0)
      factor_row(module, Part::kron_1, Part::kron_1_a, Part::kron_1_b, n / inner_rows, outer);
    factor_row(module, Part::kron_2, Part::kron_2_a, Part::kron_2_b, n % inner_rows, inner);
    for (const float factor : outer) {
      for (const float value : inner) *target++ = factor * value;
    }
  }
}

}  // namespace

void AdapterModule::difference_rows(std::int64_t begin, std::int64_t count, const float* base,
                                    float* target) const {
  const std::int64_t width = module_.shape.size() > 1 ? module_.shape[1] : 1;
  const std::int64_t size = count * width;
  switch (kind_) {
    case Kind::low_rank:
      return product_rows(*part(Part::up), *part(Part::down), begin, count, target);
    case Kind::kronecker:
      return kronecker_rows(*this, begin, count, target);
    case Kind::hadamard: {
      std::vector<float> second(static_cast<std::size_t>(size));
      product_rows(*part(Part::hada_1_a), *part(Part::hada_1_b), begin, count, target);
      product_rows(*part(Part::hada_2_a), *part(Part::hada_2_b), begin, count, second.data());
      for (std::int64_t i = 0; i < size; ++i) target[i] *= second[static_cast<std::size_t>(i)];
      return;
    }
    case Kind::full:
      if (const Weight* const replacement = part(Part::replacement)) {
        read_rows(*replacement, begin, count, target);
        add_scaled(-1, base, size, target);
      } else {
        read_rows(*part(Part::difference), begin, count, target);
      }
      return;
    case Kind::table:
      return table_rows(*part(Part::embedding_up), *part(Part::embedding_down), begin, count,
                        target);
    case Kind::bias_only:
      std::fill_n(target, size, 0.0f);
  }
}

namespace {

/// W + scale D of some rows.
std::vector<float> sum_rows(const AdapterModule& module, std::int64_t begin, std::int64_t count,
                            const float* base) {
  const std::int64_t size = count * module.module().shape[1];
  std::vector<float> sum(static_cast<std::size_t>(size));
  module.difference_rows(begin, count, base, sum.data());
  const auto scale = static_cast<float>(module.scale());
  for (std::int64_t i = 0; i < size; ++i) {
    float& value = sum[static_cast<std::size_t>(i)];
    value = base[i] + scale * value;
  }
  return sum;
}

}  // namespace

std::vector<float> AdapterModule::gains(const Weight& base) const {
  const std::int64_t outputs = module_.shape[0], inputs = module_.shape[1];
  const bool is_by_rows = norm_ == Norm::rows;
  // By where a block begins: added up in that order, whichever was done first.
  std::map<std::int64_t, std::vector<double>> squares_of_blocks;
  std::mutex mutex;
  for_each_row_block(outputs, [&](std::int64_t begin, std::int64_t count) {
    std::vector<float> rows(static_cast<std::size_t>(count * inputs));
    read_rows(base, begin, count, rows.data());
    const std::vector<float> sum = sum_rows(*this, begin, count, rows.data());
    std::vector<double> squares(static_cast<std::size_t>(is_by_rows ? count : inputs));
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t k = 0; k < inputs; ++k) {
        const double value = sum[static_cast<std::size_t>(i * inputs + k)];
        squares[static_cast<std::size_t>(is_by_rows ? i : k)] += value * value;
      }
    }
    const std::lock_guard lock(mutex);
    squares_of_blocks[begin] = std::move(squares);
  });
  std::vector<double> squares(static_cast<std::size_t>(is_by_rows ? outputs : inputs));
  for (const auto& [begin, block] : squares_of_blocks) {
    double* const target = squares.data() + (is_by_rows ? begin : 0);
    for (std::size_t i = 0; i < block.size(); ++i) target[i] += block[i];
  }
  const Tensor magnitude = weight_values(*part(Part::magnitude));
  std::vector<float> gains;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    const double length = std::sqrt(squares[i]);
    gains.push_back(length > 0 ? static_cast<float>(magnitude.data<float>()[i] / length) : 1.0f);
  }
  return gains;
}

void AdapterModule::add_rows(double strength, const std::vector<float>& gains, std::int64_t begin,
                             std::int64_t count, const float* base, float* target) const {
  const std::int64_t width = module_.shape.size() > 1 ? module_.shape[1] : 1;
  const auto t = static_cast<float>(strength);
  if (norm_ == Norm::none) {
    std::vector<float> rows(static_cast<std::size_t>(count * width));
    difference_rows(begin, count, base, rows.data());
    add_scaled(static_cast<float>(strength * scale_), rows.data(), count * width, target);
    return;
  }
  const std::vector<float> sum = sum_rows(*this, begin, count, base);
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t k = 0; k < width; ++k) {
      const std::int64_t at = i * width + k;
      const float gain = gains[static_cast<std::size_t>(norm_ == Norm::rows ? begin + i : k)];
      target[at] += t * (gain * sum[static_cast<std::size_t>(at)] - base[at]);
    }
  }
}

void AdapterModule::add_to_bias(double strength, float* bias) const {
  const std::int64_t outputs = module_.shape[0];
  if (const Weight* const up_bias = part(Part::up_bias))
    add_scaled(static_cast<float>(strength * scale_), weight_values(*up_bias).data<float>(),
               outputs, bias);
  if (const Weight* const difference = part(Part::bias_difference))
    add_scaled(static_cast<float>(strength), weight_values(*difference).data<float>(), outputs,
               bias);
}

}  // namespace ernie_image
