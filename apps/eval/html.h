// Pieces of the HTML report.
#pragma once

#include <string>
#include <string_view>

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// Text for element content and for attributes in double quotes.
std::string escape_html(std::string_view text);

/// An <img> element that carries the picture itself, as PNG. `alt` is plain text.
std::string embedded_image(const Image& image, std::string_view alt);

}  // namespace ernie_image
