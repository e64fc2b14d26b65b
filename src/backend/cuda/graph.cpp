#include "backend/cuda/graph.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace ernie_image::cuda {
namespace {

/// $ERNIE_IMAGE_CUDA_GRAPH=0 does without.
bool graphs_wanted() {
  const char* const given = std::getenv("ERNIE_IMAGE_CUDA_GRAPH");
  return given == nullptr || std::string_view(given) != "0";
}

}  // namespace

class RecordedStep {
 public:
  enum class State { seen, recorded, not_recordable };

  RecordedStep(std::span<const Tensor> given_inputs, std::span<const Tensor> given_constants)
      : constants(given_constants.begin(), given_constants.end()) {
    for (const Tensor& input : given_inputs) shapes.emplace_back(input.dtype(), input.shape());
  }
  ~RecordedStep() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
  }
  RecordedStep(const RecordedStep&) = delete;
  RecordedStep& operator=(const RecordedStep&) = delete;

  bool is_for(std::span<const Tensor> given_inputs, std::span<const Tensor> given_constants) const {
    return std::ranges::equal(given_inputs, shapes,
                              [](const Tensor& input, const auto& known) {
                                return input.dtype() == known.first &&
                                       input.shape() == known.second;
                              }) &&
           std::ranges::equal(given_constants, constants, [](const Tensor& a, const Tensor& b) {
             return a.bytes() == b.bytes() && a.shape() == b.shape() && a.dtype() == b.dtype();
           });
  }

  std::vector<std::pair<DType, Shape>> shapes;
  std::vector<Tensor> constants;  ///< kept, so that their addresses are nobody else's
  State state = State::seen;
  std::shared_ptr<void> memory;  ///< of everything between inputs and output
  std::vector<Tensor> inputs;
  Tensor output;
  cudaGraphExec_t executable = nullptr;
};

StepRecorder::StepRecorder(Stream& stream) : stream_(stream) {}
StepRecorder::~StepRecorder() = default;

RecordedStep* StepRecorder::find(std::span<const Tensor> inputs,
                                 std::span<const Tensor> constants) {
  const auto found = std::ranges::find_if(
      steps_, [&](const auto& known) { return known->is_for(inputs, constants); });
  return found == steps_.end() ? nullptr : found->get();
}

Tensor StepRecorder::operator()(std::span<const Tensor> inputs, std::span<const Tensor> constants,
                                const Backend::Step& step,
                                const std::function<bool()>& may_record) {
  static const bool wanted = graphs_wanted();
  RecordedStep* const known = wanted ? find(inputs, constants) : nullptr;
  if (known == nullptr) {
    Tensor result = step(inputs);
    if (wanted && may_record()) steps_.push_back(std::make_unique<RecordedStep>(inputs, constants));
    return result;
  }
  if (known->state == RecordedStep::State::seen) record(*known, step);
  if (known->state == RecordedStep::State::not_recordable) return step(inputs);
  stream_.begin_call();
  const auto copy = [&](const Tensor& target, const Tensor& source) {
    stream_.copy(target.bytes(), source.bytes(), source.size_bytes(),
                 "copying a step's inputs or output");
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) copy(known->inputs[i], inputs[i]);
  if (!stream_.device().rehearses())
    require(cudaGraphLaunch(known->executable, stream_.get()), "launching a recorded step");
  const Tensor result = stream_.empty(known->output.dtype(), known->output.shape());
  copy(result, known->output);
  return result;
}

/// Ends with the step recorded or marked as not recordable; throws what else went wrong.
void StepRecorder::record(RecordedStep& recorded, const Backend::Step& step) {
  recorded.state = RecordedStep::State::not_recordable;
  stream_.memory().release_cache();  // the record has memory of its own
  stream_.memory().begin_recording();
  cudaGraph_t graph = nullptr;
  cudaError_t status = cudaSuccess;
  try {
    for (const auto& [dtype, shape] : recorded.shapes)
      recorded.inputs.push_back(stream_.empty(dtype, shape));
    if (stream_.device().rehearses()) {
      recorded.output = step(recorded.inputs);
      recorded.memory = stream_.memory().end_recording();
      recorded.state = RecordedStep::State::recorded;
      return;
    }
    // Relaxed: memory may be had while recording.
    require(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeRelaxed),
            "beginning to record a step");
    recorded.output = step(recorded.inputs);
    status = cudaStreamEndCapture(stream_.get(), &graph);
  } catch (const NotRecordable&) {
    status = cudaErrorStreamCaptureUnsupported;
    cudaStreamEndCapture(stream_.get(), &graph);
  } catch (...) {
    cudaStreamEndCapture(stream_.get(), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    stream_.memory().end_recording();
    throw;
  }
  recorded.memory = stream_.memory().end_recording();
  if (status == cudaSuccess) status = cudaGraphInstantiate(&recorded.executable, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  if (status == cudaSuccess) {
    recorded.state = RecordedStep::State::recorded;
    return;
  }
  recorded.output = {};
  recorded.inputs.clear();
  recorded.memory.reset();
}

void StepRecorder::release() {
  if (steps_.empty()) return;
  stream_.device().bind();
  stream_.queue().synchronize();
  steps_.clear();
}

}  // namespace ernie_image::cuda
