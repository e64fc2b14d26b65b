// Files built into the program.
#pragma once

#include <span>
#include <string_view>

#include "io/embedded_files.h"

namespace ernie_image {

/// Those of apps/server/web, named "web/index.html". Sorted.
std::span<const EmbeddedFile> page_files();

/// Those of apps/server/documents.
std::span<const EmbeddedFile> document_files();

/// What this server offers, as an OpenAPI document.
std::string_view openapi_document();

}  // namespace ernie_image
