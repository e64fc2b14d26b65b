/* Text to picture from C, and from whatever can call C: a stable ABI over the library.
 *
 *     ernie_image_load_options options = {sizeof options};
 *     ernie_image_pipeline* pipeline = ernie_image_load(&options, NULL);
 *     const char* prompt = "a red apple on a blue background";
 *     ernie_image_request request = {sizeof request};
 *     request.prompts = &prompt;
 *     request.prompt_count = 1;
 *     ernie_image_result* result = ernie_image_generate(pipeline, &request, NULL);
 *     ernie_image_result_save(result, 0, "apple.png", NULL);
 *     ernie_image_result_free(result);
 *     ernie_image_pipeline_free(pipeline);
 *
 * Structs begin with their size, which the caller sets; everything else may be zero, which means
 * the default. A struct may grow at its end: what an older caller does not have is zero, and what
 * a newer caller has set that this library does not know is refused.
 *
 * Handles are opaque and never used again: a call with one that was freed is refused. Freeing NULL
 * does nothing. What an accessor points to lives as long as the handle.
 *
 * Errors: calls return NULL, a negative number or a status other than ERNIE_IMAGE_OK. If `error` is
 * not NULL, it then points to an error to be freed; otherwise to NULL. No C++ exception leaves the
 * library, and callbacks must not throw or jump out of theirs.
 *
 * Threads: every function may be called from every thread. A pipeline does one thing at a time: a
 * second call meanwhile is refused with ERNIE_IMAGE_BUSY, also from within its own callbacks; only
 * ernie_image_cancel, ernie_image_pipeline_info and ernie_image_pipeline_free may be called then.
 * Callbacks come on the thread of the call. A pipeline is of no use in a forked child, which is
 * told so; it may load its own.
 *
 * Text is UTF-8 and ends with a zero byte; paths are bytes. Tensors are row-major floats. */
#ifndef ERNIE_IMAGE_C_H
#define ERNIE_IMAGE_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ERNIE_IMAGE_C_API __attribute__((visibility("default")))

/* ---- errors -------------------------------------------------------------------------------- */

typedef enum ernie_image_status {
  ERNIE_IMAGE_OK = 0,
  ERNIE_IMAGE_INVALID_ARGUMENT = 1, /* a call that cannot be served as asked */
  ERNIE_IMAGE_NOT_FOUND = 2,        /* a file, folder, model or device that is not there */
  ERNIE_IMAGE_CORRUPT_FILE = 3,     /* a file that is not what it claims to be, or is cut short */
  ERNIE_IMAGE_UNSUPPORTED = 4,      /* well-formed, but nothing that this build can do */
  ERNIE_IMAGE_OUT_OF_MEMORY = 5,
  ERNIE_IMAGE_DEVICE = 6,    /* a device or its driver failed */
  ERNIE_IMAGE_IO = 7,        /* the operating system refused to read or write */
  ERNIE_IMAGE_CANCELLED = 8, /* ernie_image_cancel, or a callback that asked to stop */
  ERNIE_IMAGE_BUSY = 9,      /* the pipeline is at work in another call */
  ERNIE_IMAGE_INTERNAL = 10  /* a mistake in the library */
} ernie_image_status;

typedef struct ernie_image_error ernie_image_error;

/* ERNIE_IMAGE_OK of NULL. */
ERNIE_IMAGE_C_API ernie_image_status ernie_image_error_status(const ernie_image_error* error);
/* Says where, what was found, what was expected, and what to do about it. */
ERNIE_IMAGE_C_API const char* ernie_image_error_message(const ernie_image_error* error);
ERNIE_IMAGE_C_API void ernie_image_error_free(ernie_image_error* error);

/* "invalid_argument"; "unknown" for a number that is none of the above. */
ERNIE_IMAGE_C_API const char* ernie_image_status_name(int32_t status);

/* "0.1.0", the version of the library; the ABI's own is in docs/c.md. */
ERNIE_IMAGE_C_API const char* ernie_image_version(void);

typedef enum ernie_image_log_level {
  ERNIE_IMAGE_LOG_DEBUG = 0,
  ERNIE_IMAGE_LOG_INFO = 1,
  ERNIE_IMAGE_LOG_WARNING = 2,
  ERNIE_IMAGE_LOG_ERROR = 3
} ernie_image_log_level;

/* Lines for people, for the whole process: the library prints nothing itself. From any thread, but
 * never two at once. It must not call the library. NULL, as at the start: nobody is told. */
typedef void (*ernie_image_log_function)(void* user_data, int32_t level, const char* message);
ERNIE_IMAGE_C_API ernie_image_status ernie_image_set_log(ernie_image_log_function function,
                                                         void* user_data,
                                                         ernie_image_error** error);

/* ---- a model ------------------------------------------------------------------------------- */

typedef struct ernie_image_pipeline ernie_image_pipeline;

typedef struct ernie_image_load_options {
  size_t struct_size;
  /* A folder in the diffusers layout, a hub id looked up in the local caches, a file with the
   * transformer, "embedded:emoji-tiny", or NULL: the environment's ERNIE_IMAGE_MODEL, else the
   * embedded model. */
  const char* model;
  /* Parts that lie elsewhere, each a file or a folder. `base` has what a model file lacks. */
  const char* base;
  const char* transformer;
  const char* text_encoder;
  const char* vae;
  const char* pe;
  const char* tokenizer;
  const char* precision;       /* "fp32", the default, or "bf16" */
  const char* quantization;    /* of the transformer's layers: "none", "int8" or "int4" */
  const char* device;          /* "cpu", "cuda:1", "ascend:0,1" */
  const char* cpu_kernels;     /* "auto", or an instruction set */
  int32_t num_threads;         /* 0: every processor that the process may use */
  uint64_t memory_limit_bytes; /* 0: what the system has, or the device */
  /* Options of devices: names and as many values ("offload", "layers"). */
  const char* const* device_option_names;
  const char* const* device_option_values;
  size_t device_option_count;
} ernie_image_load_options;

/* Maps the weights and checks every name and shape. `options` may be NULL. */
ERNIE_IMAGE_C_API ernie_image_pipeline* ernie_image_load(const ernie_image_load_options* options,
                                                         ernie_image_error** error);

/* From any thread; a call that is at work is asked to stop, and ends with ERNIE_IMAGE_CANCELLED. */
ERNIE_IMAGE_C_API void ernie_image_pipeline_free(ernie_image_pipeline* pipeline);

/* Asks the call that is at work, if there is one, to stop: it does within a fraction of a second.
 * Does not wait for it. Not for signal handlers. */
ERNIE_IMAGE_C_API ernie_image_status ernie_image_cancel(ernie_image_pipeline* pipeline,
                                                        ernie_image_error** error);

typedef struct ernie_image_model_info {
  size_t struct_size;
  const char* path; /* "embedded:emoji-tiny" of the embedded model */
  const char* name;
  const char* content_hash; /* SHA-256 of configs and headers, hex */
  int32_t default_height_px;
  int32_t default_width_px;
  int32_t default_num_inference_steps;
  int32_t size_multiple_px; /* height and width must divide by this: h = height / this */
  double default_guidance_scale;
  int32_t latent_channels; /* C of latents [images, C, h, w] */
  int32_t text_width;      /* of text states [tokens, width] */
  int32_t has_prompt_enhancer;
  double load_seconds;
  const char* const* notes; /* for people: what was assumed, what looks wrong */
  size_t note_count;
  const char* const* unused_tensors;
  size_t unused_tensor_count;
} ernie_image_model_info;

/* Fills `info`, whose struct_size is set. */
ERNIE_IMAGE_C_API ernie_image_status ernie_image_pipeline_info(const ernie_image_pipeline* pipeline,
                                                               ernie_image_model_info* info,
                                                               ernie_image_error** error);

/* ---- pictures ------------------------------------------------------------------------------ */

/* 8-bit RGB, row-major, 3 bytes a pixel. */
typedef struct ernie_image_image {
  size_t struct_size;
  int32_t height_px;
  int32_t width_px;
  const uint8_t* rgb;
} ernie_image_image;

typedef struct ernie_image_adapter {
  size_t struct_size;
  const char* path; /* a safetensors file, or a folder of PEFT's or diffusers' */
  double strength;  /* 0: as without it */
  int32_t prompt;   /* which prompt's pictures it changes, from 0; -1: all */
} ernie_image_adapter;

/* What the text encoder makes of one prompt, made elsewhere: finite floats [tokens, width]. */
typedef struct ernie_image_text_states {
  size_t struct_size;
  const float* values;
  size_t tokens;
  size_t width; /* ernie_image_model_info.text_width */
} ernie_image_text_states;

typedef enum ernie_image_stage {
  ERNIE_IMAGE_STAGE_TEXT_ENCODER = 0,
  ERNIE_IMAGE_STAGE_TRANSFORMER = 1,
  ERNIE_IMAGE_STAGE_VAE_DECODER = 2
} ernie_image_stage;

typedef struct ernie_image_progress {
  size_t struct_size; /* set by the library, as in all that callbacks get */
  int32_t stage;      /* ernie_image_stage */
  int32_t step;       /* finished so far: prompts, denoising steps or pictures */
  int32_t steps;      /* in all */
  double stage_seconds;
} ernie_image_progress;

/* Not 0: stop. */
typedef int32_t (*ernie_image_progress_function)(void* user_data,
                                                 const ernie_image_progress* progress);

typedef struct ernie_image_step {
  size_t struct_size;
  int32_t step;  /* counted from 0 */
  int32_t steps; /* in all */
  double timestep;
  double sigma;      /* share of noise before the step */
  double sigma_next; /* and after it */
  int64_t shape[4];  /* [images, C, h, w] */
  float* latents;    /* after the step; what is written here is gone on with */
  size_t latent_count;
  /* Rough pictures of what is becoming of it, if the request asks for previews: RGB, all images
   * one after another. Else NULL. */
  const uint8_t* preview_rgb;
  int32_t preview_height_px;
  int32_t preview_width_px;
} ernie_image_step;

/* Not 0: stop. */
typedef int32_t (*ernie_image_step_function)(void* user_data, const ernie_image_step* step);

typedef struct ernie_image_request {
  size_t struct_size;
  const char* const* prompts;
  size_t prompt_count;
  /* Used when the guidance scale is above 1: none, one for all, or one a prompt. */
  const char* const* negative_prompts;
  size_t negative_prompt_count;
  int32_t height_px; /* these four: 0 is the model's default */
  int32_t width_px;
  int32_t num_inference_steps;
  int32_t num_images_per_prompt; /* 0: 1 */
  double guidance_scale;         /* 1: without guidance */
  /* None: 42. One draws the noise of the whole batch; as many as pictures, each its own. */
  const uint64_t* seeds;
  size_t seed_count;
  /* In place of noise [images, C, h, w]; finite. */
  const float* latents;
  size_t latent_count;
  /* In place of prompts, or with as many, which are then not read; and of negative prompts. */
  const ernie_image_text_states* prompt_states;
  size_t prompt_state_count;
  const ernie_image_text_states* negative_prompt_states;
  size_t negative_prompt_state_count;
  const ernie_image_adapter* adapters;
  size_t adapter_count;
  ernie_image_progress_function on_progress;
  ernie_image_step_function on_step;
  void* user_data; /* of both */
  int32_t
      with_previews;    /* for on_step; the first run that asks decodes some small pictures first */
  int32_t latents_only; /* ends before the decoder: the result has latents and no pictures */
  /* Of noise that is mixed into that of `seeds`, one for each of those: the share 0 to 1 of it. */
  const uint64_t* variation_seeds;
  size_t variation_seed_count;
  double variation_strength;
  /* A picture to begin with in place of pure noise, of the size that is asked for; 0 is its own. */
  const ernie_image_image* image;
  /* Of the noise that covers it, to 1, which leaves nothing of it; of boxes as well. 0: 0.6 */
  double strength;
  /* Whose way of counting makes it steps: NULL, "diffusers"; "sdcpp", "comfyui", "a1111", "exact"
   */
  const char* strength_mode;
  /* Where it is drawn anew, a byte a pixel: 0 keeps, 255 draws. NULL: everywhere. */
  const uint8_t* mask;
  size_t mask_count;
  /* Not 0: draws the masked part and so many pixels around it, at the size that is asked for, and
   * puts that back scaled: the picture may have any size, which the result has too. */
  int32_t masked_area_only;
  int32_t mask_padding_px;
  int32_t drawn_as_it_is; /* not 0: what the mask keeps is not put back after decoding */
  /* A second run, so many times larger or at a size, from what the first has drawn. */
  int32_t hires_steps; /* of its schedule; 0: num_inference_steps */
  double hires_scale;  /* these three: 0 is none */
  int32_t hires_height_px;
  int32_t hires_width_px;
  double hires_strength; /* 0: 0.7, counted as by "a1111" */
  /* Parts of the finished pictures to be drawn once more, each by itself: left, top, width and
   * height of each in pixels. With an image and no mask nothing else of it is drawn. */
  const int32_t* boxes;
  size_t box_count;
} ernie_image_request;

/* What ernie_image_generate would refuse, before it does any work. */
ERNIE_IMAGE_C_API ernie_image_status ernie_image_check(ernie_image_pipeline* pipeline,
                                                       const ernie_image_request* request,
                                                       ernie_image_error** error);

typedef struct ernie_image_result ernie_image_result;

ERNIE_IMAGE_C_API ernie_image_result* ernie_image_generate(ernie_image_pipeline* pipeline,
                                                           const ernie_image_request* request,
                                                           ernie_image_error** error);

/* What the decoder makes of latents [images, C, h, w] of pictures of that size. */
ERNIE_IMAGE_C_API ernie_image_result* ernie_image_decode(ernie_image_pipeline* pipeline,
                                                         const float* latents, size_t latent_count,
                                                         int32_t height_px, int32_t width_px,
                                                         ernie_image_error** error);

/* Latents [1, C, h, w] of a picture whose sides divide by ernie_image_model_info.size_multiple_px:
 * what ernie_image_decode makes pictures of. The result has them and no pictures. */
ERNIE_IMAGE_C_API ernie_image_result* ernie_image_encode(ernie_image_pipeline* pipeline,
                                                         const ernie_image_image* image,
                                                         ernie_image_error** error);

/* Prompt by prompt: p0 p0 p1 p1. 0 of a handle that was freed. */
ERNIE_IMAGE_C_API size_t ernie_image_result_count(const ernie_image_result* result);
ERNIE_IMAGE_C_API ernie_image_status ernie_image_result_image(const ernie_image_result* result,
                                                              size_t index,
                                                              ernie_image_image* image,
                                                              ernie_image_error** error);
/* Latents [images, C, h, w] of a request with latents_only or of ernie_image_encode, else NULL.
 * `shape` may be NULL. */
ERNIE_IMAGE_C_API const float* ernie_image_result_latents(const ernie_image_result* result,
                                                          int64_t shape[4]);
/* Seconds, memory and tokens of the run and what became of its adapters, as JSON: the members of
 * `ernie-image generate --json` of these names. "{}" of what is no run. */
ERNIE_IMAGE_C_API const char* ernie_image_result_json(const ernie_image_result* result);
/* PNG, JPEG or WebP by the extension; the file appears whole or not at all. */
ERNIE_IMAGE_C_API ernie_image_status ernie_image_result_save(const ernie_image_result* result,
                                                             size_t index, const char* path,
                                                             ernie_image_error** error);
ERNIE_IMAGE_C_API void ernie_image_result_free(ernie_image_result* result);

/* ---- text ---------------------------------------------------------------------------------- */

typedef struct ernie_image_enhance_options {
  size_t struct_size;
  double temperature; /* 0: 0.6, the reference's; below 0: greedy */
  double top_p;       /* 0: 0.95 */
  int32_t top_k;      /* 0: the model's, else 50 */
  int32_t max_tokens; /* 0: 2048 */
  uint64_t seed;
  const char* quantization;  /* of the enhancer's layers: "none", "int8" or "int4" */
  const char* system_prompt; /* NULL: that of the model's chat template */
  /* Piece by piece as it is written. Not 0: stop. */
  int32_t (*on_text)(void* user_data, const char* piece);
  void* user_data;
} ernie_image_enhance_options;

typedef struct ernie_image_text ernie_image_text;

/* The prompt as the model's language model writes it out, for a picture of that size (0: the
 * model's default). `options` may be NULL. */
ERNIE_IMAGE_C_API ernie_image_text* ernie_image_enhance(ernie_image_pipeline* pipeline,
                                                        const char* prompt, int32_t height_px,
                                                        int32_t width_px,
                                                        const ernie_image_enhance_options* options,
                                                        ernie_image_error** error);

/* "" of a handle that was freed. */
ERNIE_IMAGE_C_API const char* ernie_image_text_get(const ernie_image_text* text);
/* 0 if the enhancer was cut off at the limit of tokens. */
ERNIE_IMAGE_C_API int32_t ernie_image_text_is_finished(const ernie_image_text* text);
ERNIE_IMAGE_C_API void ernie_image_text_free(ernie_image_text* text);

typedef struct ernie_image_tokenizer ernie_image_tokenizer;

/* `model` as in ernie_image_load_options; or a tokenizer.json. */
ERNIE_IMAGE_C_API ernie_image_tokenizer* ernie_image_tokenizer_open(const char* model,
                                                                    ernie_image_error** error);
/* What the text encoder is fed with. Writes at most `capacity` ids and returns how many there are,
 * or -1. */
ERNIE_IMAGE_C_API int64_t ernie_image_tokenizer_encode(const ernie_image_tokenizer* tokenizer,
                                                       const char* text, int32_t* ids,
                                                       size_t capacity, ernie_image_error** error);
/* Without special tokens; ids without a token are left out. */
ERNIE_IMAGE_C_API ernie_image_text* ernie_image_tokenizer_decode(
    const ernie_image_tokenizer* tokenizer, const int32_t* ids, size_t count,
    ernie_image_error** error);
ERNIE_IMAGE_C_API void ernie_image_tokenizer_free(ernie_image_tokenizer* tokenizer);

/* ---- files --------------------------------------------------------------------------------- */

/* A PNG, JPEG or WebP; what is transparent shows white. Its texts: ernie_image_read_text. */
ERNIE_IMAGE_C_API ernie_image_result* ernie_image_read_image(const char* path,
                                                             ernie_image_error** error);
/* A text in a PNG, JPEG or WebP: "ernie_image" is the JSON of how the picture was made,
 * "parameters" what programs of A1111's kind write. ERNIE_IMAGE_NOT_FOUND if it has none of that
 * name. */
ERNIE_IMAGE_C_API ernie_image_text* ernie_image_read_text(const char* path, const char* keyword,
                                                          ernie_image_error** error);

typedef struct ernie_image_metrics {
  size_t struct_size;
  double nmse_percent;             /* mean squared error of pixels in 0..1, times 100 */
  double psnr_db;                  /* infinite for equal pictures */
  double ssim;                     /* not a number below 7 pixels a side */
  double ms_ssim;                  /* not a number below 11 pixels a side */
  double mean_absolute_difference; /* of 8-bit values */
  int32_t max_absolute_difference;
  int32_t ms_ssim_scales; /* 5, fewer for small pictures */
} ernie_image_metrics;

/* Of two pictures of one size. */
ERNIE_IMAGE_C_API ernie_image_status ernie_image_compare(const ernie_image_image* a,
                                                         const ernie_image_image* b,
                                                         ernie_image_metrics* metrics,
                                                         ernie_image_error** error);

typedef struct ernie_image_quantize_options {
  size_t struct_size;
  const char* model;        /* a folder or hub id */
  const char* output;       /* a new folder, or one that an interrupted run has begun */
  const char* quantization; /* NULL: "int8"; or "int4" */
  /* Of "transformer", "text_encoder" and "pe"; none: the transformer. */
  const char* const* components;
  size_t component_count;
  uint64_t max_shard_bytes; /* 0: 4 000 000 000 */
  int32_t num_threads;
  int32_t force; /* replace what an earlier run wrote */
  /* Bytes of the source that are done, and in all. Not 0: stop. */
  int32_t (*on_progress)(void* user_data, uint64_t bytes, uint64_t all_bytes);
  void* user_data;
} ernie_image_quantize_options;

/* Writes a model folder with packed weights. */
ERNIE_IMAGE_C_API ernie_image_status
ernie_image_quantize(const ernie_image_quantize_options* options, ernie_image_error** error);

#ifdef __cplusplus
}
#endif

#endif
