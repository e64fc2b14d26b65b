// Where pictures and other results go: names of several images, and checks before any work.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// The paths of `count` images. `%d` or `%03d` in the file name becomes the image's number from 1;
/// `%%` is a percent sign, and so is a `%` with anything else behind it; without a number the
/// second image and later get "-2", "-3" before the extension. Throws Error(invalid_argument) for a
/// second number and for numbers in other forms, such as `%5d`.
std::vector<std::string> output_paths(const std::string& pattern, int count);

/// A folder that is there, or anything with a slash at its end.
bool is_output_folder(const std::string& output);

/// `output` with a slash at its end; made if it is not there. Throws Error(io).
std::string output_folder(const std::string& output);

/// Letters and digits of any script out of a prompt, in lower case and joined by "-":
/// "a-red-apple". At most 60 bytes of whole words, if the first is not longer; "picture" if nothing
/// is left.
std::string name_of_prompt(std::string_view prompt);

/// The first of `stem`.png, `stem`-2.png ... that is not in `taken`, which it joins, and, unless it
/// `may_exist`, not on the disk.
std::string free_path(const std::string& stem, bool may_exist, std::set<std::string>& taken);

/// "2026-11-30", of the local clock.
std::string today();

/// Throws Error(invalid_argument | not_found | io) unless a file can be written there: the folder
/// exists and can be written to, the name is not too long, a file of that name may be replaced, the
/// disk is not full. A link is followed. `path` must not be a folder itself.
/// `without_folder`: what is to be done where there is none.
void require_writable(const std::string& flag, const std::string& path,
                      const char* without_folder = "create it first");

}  // namespace ernie_image
