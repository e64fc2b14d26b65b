// Output files appear whole or not at all.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace ernie_image {

/// Writes to a temporary file beside `path`, syncs it and renames it over `path`; on any failure
/// (full disk, no permission, exception) the temporary file is removed and an existing `path` is
/// untouched. Throws Error(io | not_found).
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// The same where nothing is replaced: returns false, and writes nothing, if `path` is there.
bool write_new_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// The same as the first for large files written piece by piece: `write` receives a function that
/// appends.
void write_file_atomically(
    const std::string& path,
    const std::function<void(const std::function<void(std::span<const std::byte>)>& append)>&
        write);

}  // namespace ernie_image
