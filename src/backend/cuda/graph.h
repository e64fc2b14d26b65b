// A step that is asked for again and again, recorded as a CUDA graph: one call queues what were
// hundreds.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

/// The record of one step: its inputs live in tensors of its own, its memory is kept.
class RecordedStep;

class StepRecorder {
 public:
  explicit StepRecorder(Stream& stream);
  ~StepRecorder();

  /// step(inputs): the first time as it is, which brings weights to the card and makes plans; the
  /// second time recorded; from then on replayed. `may_record` is asked after the first: not
  /// while weights are streamed.
  Tensor operator()(std::span<const Tensor> inputs, std::span<const Tensor> constants,
                    const Backend::Step& step, const std::function<bool()>& may_record);

  /// Forgets all steps.
  void release();

 private:
  RecordedStep* find(std::span<const Tensor> inputs, std::span<const Tensor> constants);
  void record(RecordedStep& recorded, const Backend::Step& step);

  Stream& stream_;
  std::vector<std::unique_ptr<RecordedStep>> steps_;
};

}  // namespace ernie_image::cuda
