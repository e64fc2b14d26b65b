// Calls of the C API in random order, with handles that are open, freed or of another kind and with
// values of any kind: each gives a result or an error. What it must not do, the sanitizers see.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ernie_image/c.h"

namespace {

constexpr int kCalls = 3000;

class RandomCalls {
 public:
  explicit RandomCalls(unsigned seed) : engine_(seed) {
    ernie_image_load_options options = {};
    options.struct_size = sizeof options;
    options.model = "embedded:emoji-tiny";
    options.num_threads = 1;
    pipeline_ = ernie_image_load(&options, nullptr);
  }
  ~RandomCalls() {
    ernie_image_pipeline_free(pipeline_);
    for (void* handle : handles_) free_as_each(handle);
  }
  RandomCalls(const RandomCalls&) = delete;
  RandomCalls& operator=(const RandomCalls&) = delete;

  void call() {
    ernie_image_error* error = nullptr;
    ernie_image_error** const told = below(4) == 0 ? nullptr : &error;
    dispatch(told);
    // An error says something, and success says nothing.
    const bool is_error = ernie_image_error_status(error) != ERNIE_IMAGE_OK;
    EXPECT_EQ(is_error, *ernie_image_error_message(error) != '\0');
    EXPECT_NE(ernie_image_error_status(error), ERNIE_IMAGE_INTERNAL)
        << ernie_image_error_message(error);
    EXPECT_NE(ernie_image_error_status(error), ERNIE_IMAGE_BUSY);
    ernie_image_error_free(error);
  }

  int pictures() const { return pictures_; }
  int refusals() const { return refusals_; }

 private:
  int below(int end) { return static_cast<int>(engine_() % static_cast<unsigned>(end)); }

  template <class T>
  T one_of(std::vector<T> values) {
    return values[static_cast<std::size_t>(below(static_cast<int>(values.size())))];
  }

  void* handle() {
    switch (below(8)) {
      case 0:
        return nullptr;
      case 1:
        return reinterpret_cast<void*>(std::uintptr_t{engine_()});
      default:
        return handles_.empty() ? nullptr : one_of(handles_);
    }
  }
  template <class T>
  T* handle_of() {
    return static_cast<T*>(handle());
  }
  /// Often one that is open.
  ernie_image_pipeline* pipeline() {
    return below(2) == 0 ? pipeline_ : handle_of<ernie_image_pipeline>();
  }
  void keep(void* made) {
    if (made == nullptr) ++refusals_;
    if (made == nullptr) return;
    handles_.push_back(made);
    if (handles_.size() <= 24) return;
    free_as_each(handles_.front());  // the number stays known a while, as one that was freed
    handles_.erase(handles_.begin());
  }
  /// Each of them frees whatever it is given, and does nothing the second time.
  static void free_as_each(void* handle) {
    ernie_image_result_free(static_cast<ernie_image_result*>(handle));
    ernie_image_pipeline_free(static_cast<ernie_image_pipeline*>(handle));
  }

  const char* text() {
    return one_of<const char*>(
        {nullptr, "", "a cat", "\xff\xfe", "<s></s>", "embedded:emoji-tiny", "/nowhere"});
  }
  double number() {
    return one_of<double>(
        {0, 1, -1, 0.5, 1e300, std::nan(""), std::numeric_limits<double>::infinity()});
  }
  std::int32_t size() {
    return one_of<std::int32_t>({0, 16, 16, 16, 16, 16, 16, 16, 15, -16, INT32_MAX, INT32_MIN});
  }

  static std::int32_t stop_sometimes(void* user_data, const ernie_image_progress*) {
    return static_cast<RandomCalls*>(user_data)->below(6) == 0;
  }
  static std::int32_t write_latents(void* user_data, const ernie_image_step* step) {
    auto& calls = *static_cast<RandomCalls*>(user_data);
    step->latents[static_cast<std::size_t>(calls.below(static_cast<int>(step->latent_count)))] =
        static_cast<float>(calls.number());
    // From within a run the pipeline is busy, and another handle is not.
    ernie_image_result_free(calls.handle_of<ernie_image_result>());
    return 0;
  }

  ernie_image_request request() {
    ernie_image_request c = {};
    c.struct_size = below(12) == 0 ? static_cast<std::size_t>(below(int{sizeof c})) : sizeof c;
    c.prompts = below(12) == 0 ? nullptr : prompts_;
    c.prompt_count = static_cast<std::size_t>(below(12) == 0 ? 100000 : 1 + below(6) / 5);
    c.height_px = size();
    c.width_px = 16;
    c.num_inference_steps = below(10) == 0 ? size() : 1;
    c.guidance_scale = below(4) == 0 ? number() : 0;
    c.num_images_per_prompt = below(10) == 0 ? size() : 0;
    c.seeds = seeds_;
    c.seed_count = static_cast<std::size_t>(below(3));
    latents_.assign(static_cast<std::size_t>(64 * below(3)), static_cast<float>(number()));
    if (below(3) == 0) c.latents = latents_.data();
    if (below(3) == 0) c.latent_count = latents_.size();
    if (below(3) == 0) c.on_progress = stop_sometimes;
    if (below(3) == 0) c.on_step = write_latents;
    c.user_data = this;
    c.latents_only = below(2);
    if (below(9) == 0) add_picture(c);
    if (below(12) == 0) add_runs(c);
    return c;
  }

  void add_picture(ernie_image_request& c) {
    picture_ = {sizeof picture_, below(9) == 0 ? 1 + below(24) : 16, 16,
                below(9) == 0 ? nullptr : pixels_.data()};
    if (below(9) != 0) c.image = &picture_;
    c.strength = below(4) == 0 ? number() : 0.5;
    c.strength_mode = below(9) == 0 ? text() : nullptr;
    c.mask = below(2) == 0 ? pixels_.data() : nullptr;
    c.mask_count = static_cast<std::size_t>(below(9) == 0 ? below(1000) : 16 * 16);
    c.masked_area_only = below(2);
    c.mask_padding_px = below(4) == 0 ? size() : below(20);
    c.drawn_as_it_is = below(2);
    c.with_previews = below(2);
  }
  void add_runs(ernie_image_request& c) {
    c.variation_seeds = below(3) == 0 ? seeds_ : nullptr;
    c.variation_seed_count = static_cast<std::size_t>(below(3));
    c.variation_strength = below(2) == 0 ? number() : 0;
    c.hires_scale = below(2) == 0 ? number() : 0;
    c.hires_height_px = c.hires_width_px = below(3) == 0 ? size() : 0;
    c.hires_strength = below(2) == 0 ? number() : 0;
    c.hires_steps = below(3) == 0 ? size() : 1;
    for (std::int32_t& side : boxes_) side = below(9) == 0 ? size() : below(14);
    c.boxes = below(6) == 0 ? nullptr : boxes_;
    c.box_count = static_cast<std::size_t>(below(9) == 0 ? 1000000 : below(3));
  }

  void dispatch(ernie_image_error** error) {
    switch (below(100)) {
      case 0: {
        ernie_image_load_options options = {};
        options.struct_size =
            below(4) == 0 ? static_cast<std::size_t>(below(int{sizeof options})) : sizeof options;
        options.model = "embedded:emoji-tiny";
        options.num_threads = below(4) == 0 ? size() : 1;
        options.precision = below(4) == 0 ? text() : nullptr;
        options.memory_limit_bytes = below(4) == 0 ? engine_() : 0;
        return keep(ernie_image_load(&options, error));
      }
      case 1:
      case 2:
      case 3:
      case 4: {
        const ernie_image_request asked = request();
        ernie_image_result* const made = ernie_image_generate(pipeline(), &asked, error);
        pictures_ += made != nullptr;
        return keep(made);
      }
      case 7:
        return keep(ernie_image_tokenizer_open("embedded:emoji-tiny", error));
      case 8: {
        const ernie_image_image given = {below(9) == 0 ? sizeof(void*) : sizeof given, size(), 16,
                                         below(9) == 0 ? nullptr : encoded_.data()};
        return keep(ernie_image_encode(pipeline(), &given, error));
      }
      case 5: {
        ernie_image_enhance_options options = {};
        options.struct_size = sizeof options;
        options.max_tokens = 1;
        options.temperature = number();
        options.top_p = number();
        return keep(ernie_image_enhance(pipeline(), text(), size(), size(), &options, error));
      }
      case 6:
        latents_.assign(64, static_cast<float>(number()));
        return keep(ernie_image_decode(pipeline(), latents_.data(),
                                       static_cast<std::size_t>(below(65)), size(), size(), error));
      default:
        return dispatch_cheap(error);
    }
  }

  void dispatch_cheap(ernie_image_error** error) {
    ernie_image_image image = {sizeof image, 0, 0, nullptr};
    std::int32_t ids[4] = {1, -5, INT32_MAX, 7};
    switch (below(14)) {
      case 0: {
        const ernie_image_request asked = request();
        ernie_image_check(pipeline(), below(9) == 0 ? nullptr : &asked, error);
        return;
      }
      case 1:
        ernie_image_cancel(pipeline(), error);
        return;
      case 2: {
        ernie_image_model_info info = {};
        info.struct_size = static_cast<std::size_t>(below(int{sizeof info} + 1));
        ernie_image_pipeline_info(pipeline(), &info, error);
        return;
      }
      case 3:
        ernie_image_result_count(handle_of<ernie_image_result>());
        return;
      case 4:
        ernie_image_result_image(handle_of<ernie_image_result>(), engine_() % 3, &image, error);
        return;
      case 5: {
        std::int64_t shape[4];
        ernie_image_result_latents(handle_of<ernie_image_result>(), shape);
        return;
      }
      case 6:
        ernie_image_result_json(handle_of<ernie_image_result>());
        return;
      case 7:
        ernie_image_result_save(handle_of<ernie_image_result>(), 0, "/nowhere/a.png", error);
        return;
      case 8:
        ernie_image_text_get(handle_of<ernie_image_text>());
        return;
      case 9:
        ernie_image_tokenizer_encode(handle_of<ernie_image_tokenizer>(), text(), ids,
                                     static_cast<std::size_t>(below(5)), error);
        return;
      case 10:
        return keep(ernie_image_tokenizer_decode(handle_of<ernie_image_tokenizer>(), ids,
                                                 static_cast<std::size_t>(below(5)), error));
      case 11: {
        void* const any = handle();
        if (below(6) == 0) free_as_each(any);
        return;
      }
      case 12:
        return keep(ernie_image_read_image(text(), error));
      default: {
        const std::uint8_t pixels[3 * 16] = {};
        ernie_image_image a = {sizeof a, size() == 16 ? 4 : size(), 4,
                               below(4) == 0 ? nullptr : pixels};
        if (a.height_px != 4) a.height_px = a.height_px > 0 ? 0 : a.height_px;
        ernie_image_metrics metrics = {};
        metrics.struct_size = static_cast<std::size_t>(below(2)) * sizeof metrics;
        ernie_image_compare(&a, &a, &metrics, error);
      }
    }
  }

  std::mt19937 engine_;
  ernie_image_pipeline* pipeline_ = nullptr;
  std::vector<void*> handles_;
  std::vector<float> latents_;
  const char* prompts_[2] = {"a cat", "a dog"};
  std::uint64_t seeds_[2] = {1, 2};
  std::vector<std::uint8_t> pixels_ = std::vector<std::uint8_t>(3 * 24 * 16, 200);
  // Of the largest picture that is not refused before it is read.
  std::vector<std::uint8_t> encoded_ = std::vector<std::uint8_t>(3 * 16 * 16, 77);
  ernie_image_image picture_{};
  std::int32_t boxes_[8] = {};
  int pictures_ = 0, refusals_ = 0;
};

TEST(CApiRandomCalls, GiveAResultOrAnErrorInAnyOrder) {
  RandomCalls calls(20);
  for (int i = 0; i < kCalls && !testing::Test::HasFailure(); ++i) calls.call();
  // It is about something only if some calls succeed.
  EXPECT_GT(calls.pictures(), 5);
  EXPECT_GT(calls.refusals(), 3);
}

}  // namespace
