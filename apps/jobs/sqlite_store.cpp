#include "jobs/sqlite_store.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>

#include "core/log.h"
#include "io/file_view.h"
#include "jobs/job_id.h"
#include "jobs/job_json.h"

namespace ernie_image {
namespace {

constexpr const char* kInMemory = ":memory:";
constexpr int kSchemaVersion = 2;
constexpr int kApplicationId = 0x65696a71;  // "eijq"

// The text is compared with what a file says of itself: no trigger, view or column that is not ours
// gets in.
constexpr const char* kTables[] = {
    "CREATE TABLE jobs(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner "
    "TEXT NOT NULL, idempotency_key TEXT, request TEXT NOT NULL, state INTEGER NOT NULL, version "
    "INTEGER NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, finished_ms "
    "INTEGER NOT NULL, attempts INTEGER NOT NULL, cancel_requested INTEGER NOT NULL, outcome TEXT, "
    "failure_kind TEXT, failure_message TEXT)",
    "CREATE TABLE files(job TEXT NOT NULL, name TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY "
    "KEY(job, name))",
    "CREATE UNIQUE INDEX idempotency ON jobs(owner, idempotency_key)",
    "CREATE INDEX states ON jobs(state, sequence)",
    "CREATE INDEX owned_states ON jobs(owner, state, sequence)"};

// Version 1 had one index less in its states: lists of one state looked at all jobs of the owner.
constexpr std::string_view kOldIndex = "CREATE INDEX owners ON jobs(owner, sequence)";

// In the place of a JobState: a job that could not be read.
constexpr std::int64_t kSetAside = static_cast<std::int64_t>(JobState::cancelled) + 1;

constexpr const char* kColumns =
    "SELECT id, owner, request, state, version, created_ms, started_ms, finished_ms, attempts, "
    "cancel_requested, outcome, failure_kind, failure_message, sequence FROM jobs ";

void create_tables(SqliteDatabase& database) {
  SqliteTransaction transaction(database);
  for (const char* table : kTables) database.execute_script(table);
  database.execute_script("PRAGMA application_id=" + std::to_string(kApplicationId));
  database.execute_script("PRAGMA user_version=" + std::to_string(kSchemaVersion));
  transaction.commit();
}

std::int64_t pragma(SqliteDatabase& database, const std::string& name) {
  SqliteRows rows = database.query("PRAGMA " + name);
  return rows.next() ? rows.integer(0) : 0;
}

void require_our_schema(SqliteDatabase& database, const std::string& where) {
  const auto refuse = [&where](const std::string& problem) {
    throw Error(ErrorKind::corrupt_file, where + ": not a usable jobs database: " + problem);
  };
  if (pragma(database, "application_id") != kApplicationId) {
    refuse("it was written by another program");
  }
  const std::int64_t version = pragma(database, "user_version");
  if (version > kSchemaVersion) {
    throw Error(ErrorKind::unsupported,
                where + ": a jobs database of version " + std::to_string(version) +
                    ", and this program knows up to " + std::to_string(kSchemaVersion));
  }
  std::size_t found = 0;
  SqliteRows rows = database.query(
      "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND NOT (type = 'table' AND name = "
      "'sqlite_sequence') ORDER BY "
      "rowid");
  while (rows.next()) {
    const std::string sql = rows.text(0);
    if (found == std::size(kTables)) refuse("other tables");
    const bool is_last = found + 1 == std::size(kTables);
    if (sql != (version == 1 && is_last ? kOldIndex : kTables[found])) refuse("other tables");
    ++found;
  }
  if (found != std::size(kTables)) refuse("a table is missing");
}

/// From version 1. After everything else about the file has been found to be in order.
void bring_up_to_date(SqliteDatabase& database) {
  if (pragma(database, "user_version") == kSchemaVersion) return;
  SqliteTransaction transaction(database);
  database.execute_script("DROP INDEX owners");
  database.execute_script(kTables[std::size(kTables) - 1]);
  database.execute_script("PRAGMA user_version=" + std::to_string(kSchemaVersion));
  transaction.commit();
}

void require_sound(SqliteDatabase& database, const std::string& where) {
  SqliteRows rows = database.query("PRAGMA quick_check(1)");
  if (rows.next() && rows.text(0) == "ok") return;
  throw Error(ErrorKind::corrupt_file, where + ": the jobs database is damaged: " + rows.text(0) +
                                           "; restore it, or move it away to begin anew");
}

void open_schema(SqliteDatabase& database, const std::string& where) {
  // The write-ahead log lets others read meanwhile, for a backup.
  database.execute_script(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cell_size_check=ON; BEGIN "
      "IMMEDIATE; "
      "COMMIT");
  if (pragma(database, "schema_version") == 0) {
    create_tables(database);
  } else {
    require_our_schema(database, where);
    require_sound(database, where);
    bring_up_to_date(database);
  }
}

JobState state_of(std::int64_t number, const std::string& where) {
  if (number < 0 || number > static_cast<int>(JobState::cancelled)) {
    throw Error(ErrorKind::corrupt_file, where + ": an unknown state");
  }
  return static_cast<JobState>(number);
}

Job job_of(const SqliteRows& row, const std::string& file) {
  Job job;
  job.id = row.text(0);
  if (!is_job_id(job.id)) throw Error(ErrorKind::corrupt_file, file + ": a job with a wrong id");
  const std::string where = file + ": job " + job.id;
  job.owner = row.text(1);
  job.request = parse_request(row.text(2), where);
  job.state = state_of(row.integer(3), where);
  job.version = row.integer(4);
  job.created_ms = row.integer(5);
  job.started_ms = row.integer(6);
  job.finished_ms = row.integer(7);
  job.attempts = static_cast<int>(
      std::clamp<std::int64_t>(row.integer(8), 0, std::numeric_limits<int>::max()));
  job.cancel_requested = row.integer(9) != 0;
  if (const std::string outcome = row.text(10); !outcome.empty()) {
    JobOutcome parsed = parse_outcome(outcome, where);
    job.enhanced_prompt = std::move(parsed.enhanced_prompt);
    job.prompt_tokens = parsed.prompt_tokens;
    job.images = std::move(parsed.images);
  }
  if (job.state == JobState::failed) job.failure = JobFailure{row.text(11), row.text(12)};
  return job;
}

}  // namespace

void back_up_jobs(const std::string& jobs_db, const std::string& target) {
  if (!file_exists(jobs_db)) {
    throw Error(ErrorKind::not_found, jobs_db + ": there is no jobs database");
  }
  std::error_code error;
  if (std::filesystem::equivalent(jobs_db, target, error)) {
    throw Error(ErrorKind::invalid_argument, target + ": this is the jobs database itself");
  }
  SqliteDatabase database(jobs_db);
  require_our_schema(database, jobs_db);
  database.copy_to(target);
}

SqliteStore::SqliteStore(const std::string& path)
    : where_(path == kInMemory ? "jobs database" : path),
      lock_(path == kInMemory ? nullptr : std::make_unique<FileLock>(path)),
      database_(path) {
  open_schema(database_, where_);
}

void SqliteStore::insert(const Job& job, const std::string& idempotency_key) {
  database_.execute(
      "INSERT INTO jobs(id, owner, idempotency_key, request, state, version, created_ms, "
      "started_ms, finished_ms, attempts, cancel_requested) VALUES (?1, ?2, NULLIF(?3, ''), ?4, "
      "?5, ?6, ?7, 0, 0, 0, 0)",
      job.id, job.owner, idempotency_key, request_text(job.request),
      static_cast<std::int64_t>(job.state), job.version, job.created_ms);
}

void SqliteStore::save(const Job& job) {
  const std::string outcome =
      job.state == JobState::completed
          ? outcome_text({job.enhanced_prompt, job.prompt_tokens, job.images})
          : std::string();
  const JobFailure failure = job.failure.value_or(JobFailure{});
  database_.execute(
      "UPDATE jobs SET state = ?2, version = ?3, started_ms = ?4, finished_ms = ?5, attempts = ?6, "
      "cancel_requested = ?7, outcome = ?8, failure_kind = ?9, failure_message = ?10 WHERE id = ?1",
      job.id, static_cast<std::int64_t>(job.state), job.version, job.started_ms, job.finished_ms,
      static_cast<std::int64_t>(job.attempts), static_cast<std::int64_t>(job.cancel_requested),
      outcome, failure.kind, failure.message);
}

void SqliteStore::remove(const std::string& id) {
  SqliteTransaction transaction(database_);
  database_.execute("DELETE FROM files WHERE job = ?1", id);
  database_.execute("DELETE FROM jobs WHERE id = ?1", id);
  transaction.commit();
}

/// Those that cannot be read are moved aside, and told of.
std::vector<Job> SqliteStore::read(SqliteRows rows, bool* has_damaged) {
  std::vector<Job> jobs;
  std::vector<std::int64_t> damaged;
  while (rows.next()) {
    try {
      jobs.push_back(job_of(rows, where_));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt_file) throw;
      damaged.push_back(rows.integer(13));
      log_message(LogLevel::error,
                  std::string(error.what()) + "; this job is left out from now on");
    }
  }
  for (const std::int64_t sequence : damaged) {
    database_.execute("UPDATE jobs SET state = ?2 WHERE sequence = ?1", sequence, kSetAside);
  }
  if (has_damaged != nullptr) *has_damaged = !damaged.empty();
  return jobs;
}

std::optional<Job> SqliteStore::find(const std::string& id) {
  std::vector<Job> jobs =
      read(database_.query(std::string(kColumns) + "WHERE id = ?1 AND state < 5", id));
  if (!jobs.empty()) return std::move(jobs.front());
  SqliteRows rows = database_.query("SELECT owner FROM jobs WHERE id = ?1", id);
  if (rows.next()) throw DamagedJob(id, rows.text(0));
  return std::nullopt;
}

std::optional<Job> SqliteStore::find_by_key(const std::string& owner,
                                            const std::string& idempotency_key) {
  if (idempotency_key.empty()) return std::nullopt;
  std::string id;
  {
    SqliteRows rows = database_.query(
        "SELECT id FROM jobs WHERE owner = ?1 AND idempotency_key = ?2", owner, idempotency_key);
    if (rows.next()) id = rows.text(0);
  }
  return id.empty() ? std::nullopt : find(id);
}

std::vector<Job> SqliteStore::list(const JobFilter& filter) {
  // Each state has an index, and the first of all are among the first of each: nothing looks at
  // more jobs than it may give.
  const std::string order =
      std::string(" ORDER BY sequence ") + (filter.oldest_first ? "ASC" : "DESC") + " LIMIT ?3";
  std::string first_of_each;
  for (int state = 0; state < kSetAside; ++state) {
    const bool is_wanted = filter.state ? state == static_cast<int>(*filter.state)
                                        : filter.owner || !is_final(static_cast<JobState>(state));
    if (!is_wanted) continue;
    first_of_each += first_of_each.empty() ? "" : " UNION ALL ";
    first_of_each +=
        "SELECT * FROM (SELECT sequence FROM jobs WHERE state = " + std::to_string(state) +
        (filter.owner ? " AND owner = ?1" : " AND ?1 = ''") +
        (filter.before.empty() ? " AND ?2 = ''"
                               : " AND sequence < (SELECT sequence FROM jobs WHERE id = ?2)") +
        order + ")";
  }
  const std::string sql =
      std::string(kColumns) + "WHERE sequence IN (" + first_of_each + ")" + order;
  const std::int64_t limit = std::max(filter.limit, 0);
  constexpr int kRounds = 10;  // each moves damaged ones aside
  std::vector<Job> jobs;
  for (int round = 0; round < kRounds; ++round) {
    bool has_damaged = false;
    jobs =
        read(database_.query(sql, filter.owner.value_or(""), filter.before, limit), &has_damaged);
    if (!has_damaged) break;
  }
  return jobs;
}

std::vector<Job> SqliteStore::unfinished() {
  return read(database_.query(std::string(kColumns) + "WHERE state IN (?1, ?2) ORDER BY sequence",
                              static_cast<std::int64_t>(JobState::queued),
                              static_cast<std::int64_t>(JobState::running)));
}

std::vector<Job> SqliteStore::surplus(int kept) {
  return read(database_.query(
      std::string(kColumns) +
          "WHERE state > ?1 AND state < 5 ORDER BY sequence DESC LIMIT -1 OFFSET ?2",
      static_cast<std::int64_t>(JobState::running), std::int64_t{kept}));
}

void SqliteStore::write_file(const std::string& id, const std::string& name,
                             std::string_view bytes) {
  database_.execute("INSERT OR REPLACE INTO files(job, name, bytes) VALUES (?1, ?2, ?3)", id, name,
                    Blob{bytes});
}

void SqliteStore::remove_file(const std::string& id, const std::string& name) {
  database_.execute("DELETE FROM files WHERE job = ?1 AND name = ?2", id, name);
}

std::optional<std::string> SqliteStore::read_file(const std::string& id, const std::string& name) {
  SqliteRows rows =
      database_.query("SELECT bytes FROM files WHERE job = ?1 AND name = ?2", id, name);
  return rows.next() ? std::optional(rows.text(0)) : std::nullopt;
}

}  // namespace ernie_image
