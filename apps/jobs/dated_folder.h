// A folder of finished pictures for people: one folder a day, names that say what is in the file.
// What is written there is its owner's: the program never reads, replaces or removes it again.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "jobs/job_queue.h"

namespace ernie_image {

/// Safe to use from several threads, and beside other processes.
class DatedFolder {
 public:
  /// Makes the directory if it is not there. Throws Error(io | not_found) unless files can be
  /// written there.
  explicit DatedFolder(std::string directory);

  /// Each picture as DAY/NUMBER-SEED-PROMPT.EXT, "2026-11-30/00001-42-a-red-apple.png"; their
  /// paths. Throws Error(io | not_found); then none of them is there.
  std::vector<std::string> save(const JobRequest& request, const JobResult& result);

 private:
  std::string save_one(const std::string& day, const std::string& prompt,
                       const FinishedImage& picture);

  std::string directory_;
  std::mutex mutex_;
  std::map<std::string, int> last_numbers_;  // by day
};

/// $XDG_DATA_HOME/ernie-image/pictures, else ~/.local/share/ernie-image/pictures; empty if the
/// environment names neither.
std::string default_pictures_folder();

/// With ~ for the user's folder, for those who read it elsewhere.
std::string without_home(const std::string& path);

}  // namespace ernie_image
