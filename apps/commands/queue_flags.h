// What server and workers ask alike about the queue of a fleet.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "jobs/queue_options.h"

namespace ernie_image {

/// --queue-password-file
void add_queue_password_flag(CLI::App& app, std::string& file);

/// Sets the password from the first line of `file`, if one is named, or from the variable
/// ERNIE_IMAGE_QUEUE_PASSWORD. Throws Error(not_found | io) for a file that cannot be read,
/// Error(invalid_argument) if it is empty, or the address has a password too.
void complete_queue_options(QueueOptions& options, const std::string& file);

}  // namespace ernie_image
