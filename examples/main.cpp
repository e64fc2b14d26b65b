// Makes one picture with the embedded model: text_to_picture [PROMPT [FILE]]
#include <ernie_image/pipeline.h>

#include <iostream>
#include <string>

int main(int argc, char** argv) {
  const std::string prompt = argc > 1 ? argv[1] : "a red apple on a blue background";
  const std::string file = argc > 2 ? argv[2] : "picture.png";
  try {
    auto pipeline = ernie_image::Pipeline::load({.model = "embedded:emoji-tiny"});
    const auto result = pipeline.generate({.prompts = {prompt}});
    ernie_image::save_image(file, result.images.at(0));
    std::cout << file << "\n";
  } catch (const ernie_image::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
