// What the queue of one process promises beyond the others: its file.
#include "jobs/sqlite_queue.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "ernie_image/log.h"
#include "jobs/support.h"

namespace ernie_image {
namespace {

using namespace test;
namespace fs = std::filesystem;

class SqliteQueueTest : public TemporaryFolder {
 protected:
  QueueOptions options() const {
    QueueOptions options;
    options.jobs_db = path("jobs.db");
    options.output_directory = path("pictures");
    return options;
  }

  /// A database with a queued, a running and a completed job; their ids.
  std::vector<std::string> write_three_jobs() const {
    SqliteQueue queue(options());
    std::vector<std::string> ids;
    for (const char* prompt : {"done", "running", "queued"}) {
      ids.push_back(queue.submit(small_request(prompt), "ann", prompt, {}).id);
    }
    queue.claim(worker_named("w"), 2, kNoTime);
    queue.complete(ids[0], "w", result_of("bytes"));
    return ids;
  }
};

TEST_F(SqliteQueueTest, KeepsJobsWhenReopened) {
  const std::vector<std::string> ids = write_three_jobs();
  SqliteQueue queue(options());
  EXPECT_EQ(queue.image(ids[0], 0), "bytes");
  EXPECT_EQ(queue.find(ids[1])->state, JobState::queued);
  EXPECT_EQ(queue.submit(small_request("x"), "ann", "queued", {}).id, ids[2]);
  const std::vector<Job> jobs = queue.claim(worker_named("w"), 2, kNoTime);
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].id, ids[1]);
  EXPECT_EQ(jobs[0].attempts, 2);
  EXPECT_EQ(jobs[1].id, ids[2]);
  EXPECT_EQ(jobs[1].attempts, 1);
}

TEST_F(SqliteQueueTest, VersionsGrowAcrossProcesses) {
  std::int64_t version = 0;
  std::string id;
  {
    SqliteQueue queue(options());
    id = queue.submit(small_request(), "ann", "", {}).id;
    queue.claim(worker_named("w"), 1, kNoTime);
    for (int i = 0; i < 50; ++i) queue.report(id, "w", {}, {});
    version = queue.find(id)->version;
  }
  EXPECT_GT(SqliteQueue(options()).find(id)->version, version);
}

TEST_F(SqliteQueueTest, AJobThatKillsTheProcessFails) {
  std::string id = SqliteQueue(options()).submit(small_request(), "ann", "", {}).id;
  for (int i = 0; i < kMaxAttempts; ++i) {
    SqliteQueue queue(options());
    EXPECT_EQ(queue.claim(worker_named("w"), 1, kNoTime).size(), 1u);
  }
  const Job job = SqliteQueue(options()).find(id).value();
  EXPECT_EQ(job.state, JobState::failed);
  EXPECT_EQ(job.failure.value().kind, "worker_lost");
}

TEST_F(SqliteQueueTest, NamesPicturesByTheirJob) {
  const std::vector<std::string> ids = write_three_jobs();
  EXPECT_EQ(read_whole(path("pictures/" + ids[0] + "_0.png")), "bytes");
  SqliteQueue queue(options());
  EXPECT_TRUE(queue.remove(ids[0]));
  EXPECT_TRUE(fs::is_empty(path("pictures")));
}

TEST_F(SqliteQueueTest, RemovesWhatADeadProcessLeft) {
  fs::create_directories(path("pictures"));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  const std::string dead = write("pictures/.ernie-image-" + std::to_string(child) + "-0.tmp", "x");
  const std::string own =
      write("pictures/.ernie-image-" + std::to_string(getpid()) + "-0.tmp", "x");
  const std::string other = write("pictures/cat.png", "x");
  const SqliteQueue queue(options());
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(own));
  EXPECT_TRUE(fs::exists(other));
}

TEST_F(SqliteQueueTest, RefusesAFileThatIsInUse) {
  const SqliteQueue queue(options());
  expect_error(ErrorKind::device, {"jobs.db", "another process"}, [&] { SqliteQueue{options()}; });
}

TEST_F(SqliteQueueTest, CanBeBackedUpWhileItIsUsed) {
  SqliteQueue queue(options());
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(queue.submit(small_request(), "ann", "", {}).id);
  std::atomic<bool> is_done = false;
  std::thread client([&] {
    while (!is_done) queue.submit(small_request(), "bob", "", {});
  });
  for (int i = 0; i < 3; ++i) back_up_jobs(path("jobs.db"), path("backup.db"));
  is_done = true;
  client.join();
  QueueOptions copy = options();
  copy.jobs_db = path("backup.db");
  SqliteQueue restored(copy);
  for (const std::string& id : ids) EXPECT_EQ(restored.find(id)->state, JobState::queued);
  EXPECT_EQ(queue.claim(worker_named("w"), 1, kNoTime).at(0).id, ids[0]);
  expect_error(ErrorKind::invalid_argument, {"itself"},
               [&] { back_up_jobs(path("jobs.db"), path("jobs.db")); });
  expect_error(ErrorKind::not_found, {"none.db"},
               [&] { back_up_jobs(path("none.db"), path("x.db")); });
  write("other.db", "no database");
  expect_error(ErrorKind::corrupt_file, {"other.db"},
               [&] { back_up_jobs(path("other.db"), path("x.db")); });
  EXPECT_FALSE(fs::exists(path("x.db")));
}

TEST_F(SqliteQueueTest, WritesFilesAsTheUmaskSays) {
  const mode_t before = umask(027);
  const std::vector<std::string> ids = write_three_jobs();
  SqliteQueue queue(options());
  queue.submit(small_request(), "ann", "", {});
  back_up_jobs(path("jobs.db"), path("backup.db"));
  umask(before);
  const std::vector<std::string> names = {"jobs.db",     "jobs.db-wal",
                                          "jobs.db-shm", "jobs.db-lock",
                                          "backup.db",   "pictures/" + ids[0] + "_0.png"};
  for (const std::string& name : names) {
    const auto mode = fs::status(path(name)).permissions();
    EXPECT_EQ(mode & fs::perms::mask, fs::perms(0640)) << name;
  }
}

TEST_F(SqliteQueueTest, RefusesOtherFiles) {
  write("jobs.db", std::string(5000, 'x'));
  expect_error(ErrorKind::corrupt_file, {"jobs.db"}, [&] { SqliteQueue{options()}; });
  fs::remove(path("jobs.db"));
  SqliteDatabase(path("jobs.db")).execute_script("CREATE TABLE t(a)");
  expect_error(ErrorKind::corrupt_file, {"another program"}, [&] { SqliteQueue{options()}; });
  QueueOptions nowhere = options();
  nowhere.jobs_db = path("no/such/folder/jobs.db");
  expect_error(ErrorKind::io, {"no/such/folder"}, [&] { SqliteQueue{nowhere}; });
}

TEST_F(SqliteQueueTest, RefusesLaterVersionsAndForeignTriggers) {
  write_three_jobs();
  SqliteDatabase(path("jobs.db"))
      .execute_script("CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END");
  expect_error(ErrorKind::corrupt_file, {"other tables"}, [&] { SqliteQueue{options()}; });
  SqliteDatabase(path("jobs.db")).execute_script("DROP TRIGGER t; PRAGMA user_version=9");
  expect_error(ErrorKind::unsupported, {"version 9"}, [&] { SqliteQueue{options()}; });
}

TEST_F(SqliteQueueTest, ADamagedJobIsMovedAsideAlone) {
  const std::vector<std::string> ids = write_three_jobs();
  SqliteDatabase(path("jobs.db"))
      .execute_script("UPDATE jobs SET request = '{\"kind\":7}' WHERE id = '" + ids[2] +
                      "'; UPDATE jobs SET outcome = 'nonsense' WHERE id = '" + ids[0] + "'");
  std::vector<std::string> told;
  set_log_sink([&](LogLevel, const std::string& message) { told.push_back(message); });
  SqliteQueue queue(options());
  for (int round = 0; round < 2; ++round) {
    const std::vector<Job> listed = queue.list({.owner = "ann"});
    ASSERT_EQ(listed.size(), 1u);
    EXPECT_EQ(listed[0].id, ids[1]);
    for (const std::string& id : {ids[0], ids[2]}) {
      try {
        queue.find(id);
        ADD_FAILURE() << "was read";
      } catch (const DamagedJob& damaged) {
        EXPECT_EQ(damaged.owner(), "ann");
        EXPECT_EQ(std::string(damaged.what()).find('/'), std::string::npos) << damaged.what();
      }
      EXPECT_FALSE(queue.find_readable(id));
    }
  }
  set_log_sink({});
  ASSERT_EQ(told.size(), 2u);  // each once, with its file
  EXPECT_NE(told[0].find("jobs.db"), std::string::npos);
  EXPECT_EQ(queue.counts().queued, 1);
  EXPECT_EQ(queue.claim(worker_named("w"), 9, kNoTime).size(), 1u);
  EXPECT_TRUE(queue.remove(ids[0]));
  EXPECT_FALSE(fs::exists(path("pictures/" + ids[0] + "_0.png")));
  EXPECT_TRUE(queue.remove(ids[2]));
  EXPECT_FALSE(queue.find(ids[2]));
}

TEST_F(SqliteQueueTest, APageIsFullThoughSomeAreDamaged) {
  std::vector<std::string> ids;
  {
    SqliteQueue queue(options());
    for (int i = 0; i < 6; ++i) ids.push_back(queue.submit(small_request(), "ann", "", {}).id);
  }
  SqliteQueue queue(options());
  SqliteDatabase(path("jobs.db"))
      .execute_script("UPDATE jobs SET state = 9 WHERE id = '" + ids[5] +
                      "'; UPDATE jobs SET request = '' WHERE id = '" + ids[4] + "'");
  const std::vector<Job> listed = queue.list({.owner = "ann", .limit = 3});
  ASSERT_EQ(listed.size(), 3u);
  EXPECT_EQ(listed[0].id, ids[3]);
}

TEST_F(SqliteQueueTest, BringsAFileOfVersion1UpToDate) {
  const std::vector<std::string> ids = write_three_jobs();
  SqliteDatabase(path("jobs.db"))
      .execute_script(
          "DROP INDEX owned_states; CREATE INDEX owners ON jobs(owner, sequence); "
          "PRAGMA user_version=1");
  for (int round = 0; round < 2; ++round) {
    SqliteQueue queue(options());
    EXPECT_EQ(queue.list({.owner = "ann"}).size(), 3u);
    EXPECT_EQ(queue.image(ids[0], 0), "bytes");
  }
}

/// Bytes are changed anywhere: the file is refused, or served, and nothing worse.
TEST_F(SqliteQueueTest, SurvivesADamagedFile) {
  write_three_jobs();
  const std::string good = read_whole(path("jobs.db"));
  std::mt19937 random(5);
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    std::string damaged = good;
    for (int k = 0; k < 8; ++k) damaged[random() % good.size()] = static_cast<char>(random());
    if (i % 4 == 0) damaged.resize(random() % good.size());
    fs::remove(path("jobs.db-wal"));
    write("jobs.db", damaged);
    try {
      SqliteQueue queue(options());
      queue.list({});
      queue.claim(worker_named("w"), 9, kNoTime);
    } catch (const Error& error) {
      EXPECT_TRUE(error.kind() == ErrorKind::corrupt_file || error.kind() == ErrorKind::io ||
                  error.kind() == ErrorKind::unsupported)
          << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 5);
}

/// Accepts and finishes jobs for as long as it lives, and says each id once it is accepted.
[[noreturn]] void work_until_killed(const QueueOptions& options, int pipe) {
  SqliteQueue queue(options);
  while (true) {
    const std::string id = queue.submit(small_request(), "ann", "", {}).id;
    if (write(pipe, id.data(), id.size()) < 0) _exit(1);
    for (const Job& job : queue.claim(worker_named("w"), 1, kNoTime)) {
      queue.complete(job.id, "w", result_of(std::string(30000, 'p')));
    }
  }
}

TEST_F(SqliteQueueTest, LosesNoAcceptedJobToKill9) {
  std::mt19937 random(3);
  std::string accepted;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) work_until_killed(options(), ends[1]);
    close(ends[1]);
    char buffer[4096];
    // Once it is at work, which takes a busy machine its time.
    const ssize_t first = read(ends[0], buffer, sizeof(buffer));
    if (first > 0) accepted.append(buffer, static_cast<std::size_t>(first));
    usleep(static_cast<useconds_t>(random() % 60000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
      accepted.append(buffer, static_cast<std::size_t>(n));
    close(ends[0]);
  }
  ASSERT_GE(accepted.size(), 32u);
  SqliteQueue queue(options());
  for (std::size_t i = 0; i + 32 <= accepted.size(); i += 32) {
    const auto job = queue.find(accepted.substr(i, 32));
    ASSERT_TRUE(job);
    if (job->state == JobState::completed) {
      EXPECT_EQ(queue.image(job->id, 0), std::string(30000, 'p'));
    } else {
      EXPECT_EQ(job->state, JobState::queued);
    }
  }
}

}  // namespace
}  // namespace ernie_image
