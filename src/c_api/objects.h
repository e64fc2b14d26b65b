// What the handles of the C API stand for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "c_api/handles.h"
#include "ernie_image/cancel.h"
#include "ernie_image/pipeline.h"
#include "pipeline/preview.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image::c_api {

class PipelineObject final : public Object {
 public:
  explicit PipelineObject(const LoadOptions& options) : pipeline(Pipeline::load(options)) {}

  void close() noexcept override { cancel(); }
  bool needs_its_process() const noexcept override { return true; }

  /// Asks the work of this moment to stop.
  void cancel() noexcept {
    const std::lock_guard lock(mutex_);
    if (token_ != nullptr) token_->request();
  }

  Pipeline pipeline;
  std::vector<const char*> notes, unused_tensors;  // of its info
  std::optional<PreviewModel> preview;             // made when first asked for

 private:
  friend class Work;
  std::mutex mutex_;
  std::shared_ptr<CancelToken> token_;  // of the work that is done, if any is
};

/// One call at work with a pipeline. Throws BusyError while another is.
class Work {
 public:
  explicit Work(PipelineObject& object);
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  const std::shared_ptr<CancelToken>& token() const { return token_; }

 private:
  PipelineObject& object_;
  std::shared_ptr<CancelToken> token_;
};

struct ResultObject final : Object {
  std::vector<Image> images;
  std::vector<float> latents;
  std::array<std::int64_t, 4> shape{};
  std::string json = "{}";
};

struct TextObject final : Object {
  explicit TextObject(std::string value, bool is_finished = true)
      : text(std::move(value)), finished(is_finished) {}
  std::string text;
  bool finished;
};

struct TokenizerObject final : Object {
  explicit TokenizerObject(Tokenizer opened) : tokenizer(std::move(opened)) {}
  Tokenizer tokenizer;
};

template <class Handle, class T>
Handle* new_handle(std::shared_ptr<T> object) {
  return static_cast<Handle*>(register_object(std::move(object)));
}

}  // namespace ernie_image::c_api
