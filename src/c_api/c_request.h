// A request of the C API as the library has it.
#pragma once

#include "c_api/objects.h"
#include "ernie_image/c.h"

namespace ernie_image::c_api {

/// One call of a program: its callbacks are called with what it has set.
class Call {
 public:
  /// Throws Error(invalid_argument | unsupported) for what no request can be.
  Call(const ernie_image_request* given, PipelineObject& object);

  /// `token` is requested when a callback asks to stop. Must not outlive this.
  Request with_callbacks(std::shared_ptr<CancelToken> token);

  const Request& request() const { return request_; }
  bool wants_previews() const { return c_.on_step != nullptr && c_.with_previews != 0; }
  /// After a run with latents_only.
  void take_latents(ResultObject& result);
  /// After a run with previews: later ones will be nearer to such pictures.
  void teach_previews(const std::vector<Image>& images);

 private:
  void tell_progress(const Progress& progress);
  void tell_step(const StepLatents& step);
  void draw_previews(const StepLatents& step, ernie_image_step& told);
  void stop_if(std::int32_t answer);

  ernie_image_request c_{};
  Request request_;
  PipelineObject& object_;
  std::shared_ptr<CancelToken> token_;
  std::vector<std::uint8_t> previews_;
  std::vector<float> latents_;  // after the last step, if they are of use
  std::array<std::int64_t, 4> shape_{};
};

/// A caller's picture, which `what` names. Throws Error(invalid_argument) for one without pixels.
Image read_image(const ernie_image_image* given, const char* what);

/// Throws Error(invalid_argument), which says where, unless all are finite.
void require_finite(std::span<const float> values, const std::string& what = "latents");

}  // namespace ernie_image::c_api
