// What the library has to say beside results and errors: it prints nothing itself.
#pragma once

#include <functional>
#include <string>

#include "ernie_image/export.h"

namespace ernie_image {

enum class LogLevel { debug, info, warning, error };

/// Told in plain UTF-8 lines, without a line end. From any thread, but never twice at once. It must
/// not throw, and neither set another sink nor call the library.
using LogSink = std::function<void(LogLevel level, const std::string& message)>;

/// For the whole process, from now on; an empty one, as at the start, is told nothing. Returns when
/// the one before is no longer being called.
ERNIE_IMAGE_API void set_log_sink(LogSink sink);

}  // namespace ernie_image
