/* Makes one picture with the embedded model, from C: text_to_picture_c [PROMPT [FILE]]
 *   cc -std=c99 text_to_picture.c $(pkg-config --cflags --libs ernie_image_c) -o text_to_picture_c */
#include <ernie_image/c.h>

#include <stdio.h>

static int32_t show_progress(void* user_data, const ernie_image_progress* progress) {
  (void)user_data;
  if (progress->stage == ERNIE_IMAGE_STAGE_TRANSFORMER)
    fprintf(stderr, "step %d of %d\n", (int)progress->step, (int)progress->steps);
  return 0; /* go on */
}

static int fail(ernie_image_error* error) {
  fprintf(stderr, "%s\n", ernie_image_error_message(error));
  ernie_image_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  const char* prompt = argc > 1 ? argv[1] : "a red apple on a blue background";
  const char* file = argc > 2 ? argv[2] : "picture.png";
  ernie_image_error* error = NULL;

  ernie_image_load_options options = {sizeof options};
  options.model = "embedded:emoji-tiny";
  ernie_image_pipeline* pipeline = ernie_image_load(&options, &error);
  if (pipeline == NULL) return fail(error);

  ernie_image_request request = {sizeof request};
  request.prompts = &prompt;
  request.prompt_count = 1;
  request.on_progress = show_progress;
  ernie_image_result* result = ernie_image_generate(pipeline, &request, &error);
  ernie_image_pipeline_free(pipeline);
  if (result == NULL) return fail(error);

  ernie_image_status status = ernie_image_result_save(result, 0, file, &error);
  ernie_image_result_free(result);
  if (status != ERNIE_IMAGE_OK) return fail(error);
  printf("%s\n", file);
  return 0;
}
