// Jobs in a SQLite file: what of them must outlive the process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobs/file_lock.h"
#include "jobs/job_queue.h"
#include "jobs/sqlite_database.h"

namespace ernie_image {

/// One caller at a time. What a function has changed is on the disk when it returns. Progress,
/// previews, queue positions and workers are not kept here. A job that cannot be read is moved
/// aside: `find` throws DamagedJob for it, and nothing else knows it but `remove`.
class SqliteStore {
 public:
  /// Creates the file if there is none. Throws Error(corrupt_file) for a file that is not, or not
  /// exactly, what this program writes, Error(unsupported) for one of a later version,
  /// Error(device) if another process has it open.
  explicit SqliteStore(const std::string& path);

  void insert(const Job& job, const std::string& idempotency_key);
  /// Writes everything about the job but its request.
  void save(const Job& job);
  void remove(const std::string& id);

  std::optional<Job> find(const std::string& id);
  std::optional<Job> find_by_key(const std::string& owner, const std::string& idempotency_key);
  std::vector<Job> list(const JobFilter& filter);
  std::vector<Job> unfinished();  // oldest first
  /// Final jobs beyond the newest `kept` ones.
  std::vector<Job> surplus(int kept);

  void write_file(const std::string& id, const std::string& name, std::string_view bytes);
  std::optional<std::string> read_file(const std::string& id, const std::string& name);
  void remove_file(const std::string& id, const std::string& name);

 private:
  std::vector<Job> read(SqliteRows rows, bool* has_damaged = nullptr);

  std::string where_;
  std::unique_ptr<FileLock> lock_;
  SqliteDatabase database_;
};

/// Copies all jobs, and pictures that are among them, as they are at one moment; a process that
/// uses them goes on. `target` is replaced once the copy is whole. Throws what SqliteStore throws.
void back_up_jobs(const std::string& jobs_db, const std::string& target);

}  // namespace ernie_image
