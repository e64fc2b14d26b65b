#include "server/embedded_page.h"

#include <cassert>

namespace ernie_image {

std::string_view openapi_document() {
  for (const EmbeddedFile& file : document_files()) {
    if (file.name != "documents/openapi.json") continue;
    return {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()};
  }
  assert(false);
  return "{}";
}

}  // namespace ernie_image
