// Output files appear whole or not at all.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace ernie_image {

/// Writes to a temporary file beside `path`, syncs it and renames it over `path`, whose permissions
/// it takes; a symbolic link is followed, also to a file that is not there yet. On any failure
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

/// The file that is written where `path` is named: what a symbolic link leads to, whether it is
/// there or not. Throws Error(io) for links in a circle.
std::string link_target(const std::string& path);

/// Writes that many bytes beside `path` and removes them again: what permissions do not say (a full
/// disk, a quota, a file system that is read-only). Throws Error(io | not_found).
void try_writing(const std::string& path, std::size_t bytes);

}  // namespace ernie_image
