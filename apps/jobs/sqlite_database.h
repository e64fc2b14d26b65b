// SQLite with RAII: a connection, and queries whose statements are prepared once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace ernie_image {

/// Bytes, where a string_view would be text.
struct Blob {
  std::string_view bytes;
};

/// The rows of one query; the statement is free for the next when this goes.
class SqliteRows {
 public:
  explicit SqliteRows(sqlite3_stmt* statement) : statement_(statement) {}
  SqliteRows(const SqliteRows&) = delete;
  SqliteRows& operator=(const SqliteRows&) = delete;
  ~SqliteRows();

  /// The next row; false after the last.
  bool next();

  std::int64_t integer(int column) const;
  /// The bytes of a text or blob; empty for NULL.
  std::string text(int column) const;

 private:
  sqlite3_stmt* statement_;
};

/// Not safe to use from two threads at once. Everything throws Error: corrupt_file for a damaged
/// file, device for one that another process uses, io for what the system refuses.
class SqliteDatabase {
 public:
  explicit SqliteDatabase(const std::string& path);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  /// One or more statements without parameters or rows.
  void execute_script(const std::string& sql);

  /// Binds ?1, ?2... in order: integers, text, Blob. No two at once with the same `sql`.
  template <class... Values>
  SqliteRows query(const std::string& sql, const Values&... values) {
    sqlite3_stmt* statement = prepared(sql);
    int index = 0;
    (bind(statement, ++index, values), ...);
    return SqliteRows(statement);
  }

  template <class... Values>
  void execute(const std::string& sql, const Values&... values) {
    query(sql, values...).next();
  }

  /// A copy of everything in a file of that name, which is replaced once the copy is on the disk.
  void copy_to(const std::string& target);

  /// Rows that the last statement changed.
  std::int64_t changes() const;

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
    void operator()(sqlite3_stmt* statement) const;
  };

  sqlite3_stmt* prepared(const std::string& sql);
  static void bind(sqlite3_stmt* statement, int index, std::int64_t value);
  static void bind(sqlite3_stmt* statement, int index, std::string_view value);
  static void bind(sqlite3_stmt* statement, int index, Blob value);

  std::unique_ptr<sqlite3, Close> connection_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Close>> statements_;
};

/// Rolled back unless committed.
class SqliteTransaction {
 public:
  explicit SqliteTransaction(SqliteDatabase& database);
  ~SqliteTransaction();
  SqliteTransaction(const SqliteTransaction&) = delete;
  SqliteTransaction& operator=(const SqliteTransaction&) = delete;

  void commit();

 private:
  SqliteDatabase& database_;
  bool open_ = true;
};

}  // namespace ernie_image
