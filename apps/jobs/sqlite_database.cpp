#include "jobs/sqlite_database.h"

#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

constexpr int kPatience_ms = 5000;
constexpr int kMaxValueBytes = 256 << 20;  // no picture or trace is as large

[[noreturn]] void throw_error(sqlite3* connection) {
  const char* name = sqlite3_db_filename(connection, "main");
  const std::string where = name == nullptr || *name == '\0' ? "jobs database" : name;
  const std::string reason = sqlite3_errmsg(connection);
  switch (sqlite3_errcode(connection) & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR:  // a table or column that is not there
    case SQLITE_CONSTRAINT:
      throw Error(ErrorKind::corrupt_file, where + ": not a usable jobs database: " + reason);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(ErrorKind::device, where + ": another process uses this jobs database");
    case SQLITE_NOMEM:
      throw Error(ErrorKind::out_of_memory, where + ": " + reason);
    default:
      throw Error(ErrorKind::io, where + ": " + reason);
  }
}

void check(int code, sqlite3* connection) {
  if (code != SQLITE_OK) throw_error(connection);
}

void check_bind(int code, sqlite3_stmt* statement) { check(code, sqlite3_db_handle(statement)); }

}  // namespace

SqliteRows::~SqliteRows() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool SqliteRows::next() {
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) throw_error(sqlite3_db_handle(statement_));
  return code == SQLITE_ROW;
}

std::int64_t SqliteRows::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string SqliteRows::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string()
                          : std::string(static_cast<const char*>(bytes), std::size_t(size));
}

void SqliteDatabase::Close::operator()(sqlite3* connection) const { sqlite3_close(connection); }
void SqliteDatabase::Close::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqliteDatabase::SqliteDatabase(const std::string& path) {
  sqlite3* connection = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &connection,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  connection_.reset(connection);
  if (connection == nullptr) throw Error(ErrorKind::out_of_memory, path + ": out of memory");
  if (code != SQLITE_OK) {
    throw Error(ErrorKind::io,
                path + ": cannot open the jobs database: " + sqlite3_errmsg(connection));
  }
  sqlite3_limit(connection, SQLITE_LIMIT_LENGTH, kMaxValueBytes);
  // A reader that ends may have to write the log back.
  sqlite3_busy_timeout(connection, kPatience_ms);
  // What a file's schema might call is not trusted, and its tables cannot be tampered with by SQL.
  check(sqlite3_db_config(connection, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr), connection);
  check(sqlite3_db_config(connection, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr), connection);
}

SqliteDatabase::~SqliteDatabase() = default;

void SqliteDatabase::execute_script(const std::string& sql) {
  check(sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr), connection_.get());
}

void SqliteDatabase::copy_to(const std::string& target) {
  const std::string temporary = target + ".tmp-" + std::to_string(::getpid());
  try {
    SqliteDatabase copy(temporary);
    sqlite3* const to = copy.connection_.get();
    sqlite3_backup* const backup = sqlite3_backup_init(to, "main", connection_.get(), "main");
    if (backup == nullptr) throw_error(to);
    // In one step, which keeps nobody waiting: what is written meanwhile stays in the log.
    const int copied = sqlite3_backup_step(backup, -1);
    if (sqlite3_backup_finish(backup) != SQLITE_OK || copied != SQLITE_DONE) throw_error(to);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (::rename(temporary.c_str(), target.c_str()) != 0) {
    const std::string reason = std::strerror(errno);
    ::unlink(temporary.c_str());
    throw Error(ErrorKind::io, target + ": cannot write: " + reason);
  }
}

std::int64_t SqliteDatabase::changes() const { return sqlite3_changes(connection_.get()); }

sqlite3_stmt* SqliteDatabase::prepared(const std::string& sql) {
  auto& statement = statements_[sql];
  if (statement == nullptr) {
    sqlite3_stmt* prepared = nullptr;
    check(sqlite3_prepare_v3(connection_.get(), sql.c_str(), static_cast<int>(sql.size()) + 1,
                             SQLITE_PREPARE_PERSISTENT, &prepared, nullptr),
          connection_.get());
    statement.reset(prepared);
  }
  return statement.get();
}

// Copied: what is bound may be gone before the rows are read.
void SqliteDatabase::bind(sqlite3_stmt* statement, int index, std::int64_t value) {
  check_bind(sqlite3_bind_int64(statement, index, value), statement);
}

void SqliteDatabase::bind(sqlite3_stmt* statement, int index, std::string_view value) {
  check_bind(sqlite3_bind_text64(statement, index, value.data(), value.size(), SQLITE_TRANSIENT,
                                 SQLITE_UTF8),
             statement);
}

void SqliteDatabase::bind(sqlite3_stmt* statement, int index, Blob value) {
  check_bind(sqlite3_bind_blob64(statement, index, value.bytes.data(), value.bytes.size(),
                                 SQLITE_TRANSIENT),
             statement);
}

SqliteTransaction::SqliteTransaction(SqliteDatabase& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

SqliteTransaction::~SqliteTransaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const Error&) {
    // SQLite has rolled back by itself, as it does when the disk is full.
  }
}

void SqliteTransaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace ernie_image
