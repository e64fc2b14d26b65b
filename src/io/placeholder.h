// Recognises what downloads leave behind in place of a file.
#pragma once

#include "io/file_view.h"

namespace ernie_image {

/// Throws Error(corrupt_file) that says what to do if `file` is empty, a git-lfs pointer or a web
/// page.
void reject_placeholder(const FileView& file);

}  // namespace ernie_image
