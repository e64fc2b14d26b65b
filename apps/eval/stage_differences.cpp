#include "eval/stage_differences.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "common/generation.h"
#include "core/trace.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// A tensor within a block of the transformer or a layer of the text encoder, not its output.
bool is_inside_block(std::string_view name) {
  if (name.starts_with("dit.block")) return !name.ends_with(".output");
  if (name.starts_with("text.layer")) return !name.ends_with(".layer_output");
  return false;
}

/// Hands on the first tensor of each name: under guidance a layer runs more than once.
class FirstOfEachName : public TensorTrace {
 public:
  using Receiver = std::function<void(const std::string& name, const Tensor& host)>;
  FirstOfEachName(bool inside_blocks, Receiver receive)
      : inside_blocks_(inside_blocks), receive_(std::move(receive)) {}

  bool wants(std::string_view name) const override {
    return (inside_blocks_ || !is_inside_block(name)) && !seen_.contains(std::string(name));
  }
  void record(const std::string& name, const Tensor& host) override {
    if (wants(name) && seen_.insert(name).second) receive_(name, host);
  }

 private:
  bool inside_blocks_;
  Receiver receive_;
  std::set<std::string> seen_;
};

void run(const DiffSettings& settings, const Configuration& configuration,
         const InterruptGuard& interrupt, const FirstOfEachName::Receiver& receive) {
  FirstOfEachName trace(settings.inside_blocks, receive);
  Pipeline pipeline = Pipeline::load(configuration.load);
  Request request = with_defaults(settings.request, pipeline.info().defaults);
  request.trace = &trace;
  generate_with_progress(pipeline, request, interrupt, !settings.quiet);
}

}  // namespace

bool StageDifference::is_past(double tolerance) const {
  if (!difference) return true;
  const bool is_finite = difference->first_non_finite_a < 0 && difference->first_non_finite_b < 0;
  return !is_finite || !(difference->relative_error <= tolerance);
}

DiffResult compare_runs(const DiffSettings& settings, const InterruptGuard& interrupt) {
  std::map<std::string, Tensor> of_a;
  run(settings, settings.a, interrupt,
      [&](const std::string& name, const Tensor& host) { of_a[name] = host; });
  DiffResult result;
  run(settings, settings.b, interrupt, [&](const std::string& name, const Tensor& host) {
    const auto found = of_a.find(name);
    if (found == of_a.end()) {
      result.only_b.push_back(name);
      return;
    }
    const Tensor& a = found->second;
    result.stages.push_back({name, a.shape(), host.shape(), compare_tensors(a, host)});
    of_a.erase(found);  // its memory is not needed any more
  });
  for (const auto& [name, tensor] : of_a) result.only_a.push_back(name);
  return result;
}

const StageDifference* first_past(const DiffResult& result, double tolerance) {
  const auto found = std::ranges::find_if(
      result.stages, [&](const StageDifference& stage) { return stage.is_past(tolerance); });
  return found == result.stages.end() ? nullptr : &*found;
}

}  // namespace ernie_image
