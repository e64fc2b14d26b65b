// What the queue of a fleet promises beyond the others: several processes, and a Redis that may be
// restarted or may lie.
#include "jobs/redis_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <future>
#include <thread>

#include "ernie_image/log.h"
#include "jobs/redis_server.h"
#include "jobs/support.h"
#include "jobs/worker.h"
#include "program.h"

namespace ernie_image {
namespace {

using namespace test;
using cli_test::RunningProgram;

TEST(RedisUrl, IsReadInParts) {
  const RedisAddress whole = parse_redis_url("redis://me:p@ss:w@example.org:7000/3");
  EXPECT_EQ(whole.user, "me");
  EXPECT_EQ(whole.password, "p@ss:w");
  EXPECT_EQ(whole.host, "example.org");
  EXPECT_EQ(whole.port, 7000);
  EXPECT_EQ(whole.database, 3);
  const RedisAddress shortest = parse_redis_url("redis://localhost");
  EXPECT_EQ(shortest.host, "localhost");
  EXPECT_EQ(shortest.port, 6379);
  EXPECT_EQ(shortest.password, "");
  EXPECT_EQ(parse_redis_url("redis://:secret@h").password, "secret");
  const RedisAddress encoded = parse_redis_url("redis://m%40e:p%40ss%2Fw0rd%251@h/2");
  EXPECT_EQ(encoded.user, "m@e");
  EXPECT_EQ(encoded.password, "p@ss/w0rd%1");
  EXPECT_EQ(encoded.host, "h");
  EXPECT_EQ(parse_redis_url("redis://[::1]:7").host, "::1");
  EXPECT_EQ(parse_redis_url("redis://[::1]").port, 6379);
  EXPECT_EQ(parse_redis_url("unix:///run/redis.sock").socket, "/run/redis.sock");
}

TEST(RedisUrl, IsRefusedWithoutItsPassword) {
  for (const char* url :
       {"", "http://h", "redis://", "redis://h:", "redis://h:x", "redis://h:70000", "redis://h/x",
        "redis://h/-1", "redis://secret@h", "redis://:secret@", "redis://:secret%@h",
        "redis://:secret%zz@h", "redis://:secret%00@h", "unix://relative"}) {
    try {
      parse_redis_url(url);
      ADD_FAILURE() << url;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
    }
  }
  expect_error(ErrorKind::unsupported, {"TLS"}, [] { parse_redis_url("rediss://h"); });
}

/// Waits until `done` says so; false if it never did.
bool eventually(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + 3 * kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class RedisQueueTest : public TemporaryFolder {
 protected:
  void SetUp() override {
    if (!RedisServer::is_installed()) GTEST_SKIP() << "redis-server is not installed";
    std::signal(SIGPIPE, SIG_IGN);  // as the program does
    server_.start();
  }

  QueueOptions options() const {
    QueueOptions options;
    options.url = server_.url();
    return options;
  }

  /// What an attacker with a Redis client would do.
  RedisReply redis(const std::vector<std::string_view>& words) const {
    return RedisConnection(parse_redis_url(server_.url())).command(words);
  }

  RedisServer server_{folder_};
};

TEST_F(RedisQueueTest, SaysThatThereIsNobody) {
  QueueOptions nowhere;
  nowhere.url = "unix://" + path("nobody.sock");
  expect_error(ErrorKind::device, {"nobody.sock"}, [&] { RedisQueue{nowhere}; });
}

TEST_F(RedisQueueTest, RefusesToBeginWithoutItsPassword) {
  redis({"CONFIG", "SET", "requirepass", "p@ss/w0rd%1"});
  QueueOptions secured = options();
  EXPECT_THROW(RedisQueue{secured}, StoreRefused);
  secured.password = "wrong";
  EXPECT_THROW(RedisQueue{secured}, StoreRefused);
  secured.password = "p@ss/w0rd%1";
  EXPECT_NO_THROW(RedisQueue{secured});
}

TEST_F(RedisQueueTest, GatewaysAndWorkersShareIt) {
  RedisQueue gateway(options()), other(options()), worker(options());
  const std::string id = gateway.submit(small_request(), "ann", "key", {}).id;
  EXPECT_EQ(other.submit(small_request(), "ann", "key", {}).id, id);
  EXPECT_EQ(worker.claim(worker_named("w"), 1, kPatience).size(), 1u);
  EXPECT_TRUE(worker.report(id, "w", {.stage = "transformer"}, {}));
  EXPECT_TRUE(other.cancel(id));
  EXPECT_FALSE(worker.report(id, "w", {.stage = "transformer"}, {}));
}

TEST_F(RedisQueueTest, AnAcceptedJobSurvivesRedis) {
  RedisQueue queue(options());
  const std::string waiting = queue.submit(small_request("a"), "ann", "", {}).id;
  const std::string done = queue.submit(small_request("b"), "bob", "", {}).id;
  ASSERT_EQ(queue.claim(worker_named("w"), 2, kPatience).size(), 2u);
  queue.release(waiting, "w");
  server_.kill();
  std::thread worker([&] { queue.complete(done, "w", result_of("bytes")); });  // tries again
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  server_.start();
  worker.join();
  EXPECT_EQ(queue.image(done, 0), "bytes");
  EXPECT_EQ(queue.find(waiting)->state, JobState::queued);
  EXPECT_EQ(queue.claim(worker_named("w"), 1, kPatience).at(0).id, waiting);
}

TEST_F(RedisQueueTest, ADeadJobIsKeptWithItsReason) {
  QueueOptions impatient = options();
  impatient.claim_expiry = std::chrono::milliseconds(50);
  RedisQueue queue(impatient);
  const std::string id = queue.submit(small_request("deadly"), "ann", "", {}).id;
  for (int i = 0; i < kMaxAttempts; ++i) queue.claim(worker_named("w"), 1, kPatience);
  EXPECT_TRUE(eventually([&] {
    queue.claim(worker_named("w"), 1, kNoTime);
    return queue.find(id)->state == JobState::failed;
  }));
  const RedisReply dead = redis({"XRANGE", "ernie-image:2:dead", "-", "+"});
  ASSERT_EQ(dead.list.size(), 1u);
  EXPECT_EQ(dead.list[0].list.at(1).list.at(1).text, id);
}

TEST_F(RedisQueueTest, LeavesNoClaimBehind) {
  RedisQueue queue(options());
  const std::string id = queue.submit(small_request(), "ann", "", {}).id;
  queue.claim(worker_named("w"), 1, kPatience);
  queue.complete(id, "w", result_of("bytes"));
  const RedisReply streams = redis({"KEYS", "ernie-image:2:work:*"});
  ASSERT_EQ(streams.list.size(), 1u);
  EXPECT_EQ(redis({"XLEN", streams.list[0].text}).integer, 0);
}

/// Every field of a waiting, a running and a finished job in turn: the job is fine, or it alone is
/// moved aside.
TEST_F(RedisQueueTest, ADamagedJobIsMovedAsideAlone) {
  redis({"CONFIG", "SET", "appendonly", "no"});
  QueueOptions impatient = options();
  impatient.claim_expiry = std::chrono::milliseconds(1);
  RedisQueue queue(impatient);
  const auto in_state = [&](JobState state) {
    const std::string id = queue.submit(small_request("x"), "ann", "", {}).id;
    if (state != JobState::queued) queue.claim(worker_named("w"), 1, kNoTime);
    if (state == JobState::completed) queue.complete(id, "w", result_of("bytes"));
    return id;
  };
  int damaged = 0;
  const auto expect_alone = [&](const std::string& id, const std::string& what) {
    bool is_damaged = false;
    for (int i = 0; i < 2; ++i) {
      queue.claim(worker_named("w"), 1, kNoTime);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    queue.list({});
    queue.list({.owner = "ann"});
    try {
      queue.find(id);
    } catch (const DamagedJob&) {
      is_damaged = true;
      ++damaged;
      for (const Job& job : queue.list({.owner = "ann"})) EXPECT_NE(job.id, id) << what;
      EXPECT_TRUE(queue.remove(id)) << what;
      EXPECT_FALSE(queue.find(id)) << what;
    }
    const std::string other = in_state(JobState::completed);
    EXPECT_EQ(queue.find(other)->state, JobState::completed) << what;
    queue.remove(other);
    if (!is_damaged && !queue.remove(id)) {
      queue.cancel(id);
      queue.fail(id, "w", {"io", "x"});
      queue.remove(id);
    }
    EXPECT_EQ(queue.counts().queued + queue.counts().running, 0) << what;
  };
  for (const JobState state : {JobState::queued, JobState::running}) {
    const RedisReply fields = redis({"HKEYS", "ernie-image:2:job:" + in_state(state)});
    queue.claim(worker_named("w"), 9, kNoTime);
    redis({"FLUSHALL"});
    for (const RedisReply& field : fields.list) {
      for (const char* value : {"-1", "\xff{"}) {
        const std::string id = in_state(state);
        redis({"HSET", "ernie-image:2:job:" + id, field.text, value});
        expect_alone(id, std::string(name_of(state)) + " " + field.text + " = " + value);
      }
      const std::string id = in_state(state);
      redis({"HDEL", "ernie-image:2:job:" + id, field.text});
      expect_alone(id, std::string(name_of(state)) + " without " + field.text);
    }
    const std::string id = in_state(state);
    redis({"SET", "ernie-image:2:job:" + id, "x"});
    expect_alone(id, "another type");
  }
  EXPECT_GT(damaged, 20);
  for (const char* record : {"", "x", "\x91\x01", "\xdd\xff\xff\xff\xff"}) {
    const std::string id = in_state(JobState::completed);
    const RedisReply known = redis({"HKEYS", "ernie-image:2:done"});
    ASSERT_EQ(known.list.size(), 1u);
    redis({"HSET", "ernie-image:2:done", known.list[0].text, record});
    EXPECT_THROW(queue.find(id), DamagedJob);
    EXPECT_TRUE(queue.list({.owner = "ann"}).empty());
    EXPECT_TRUE(queue.remove(id));
    EXPECT_FALSE(queue.find(id));
  }
}

TEST_F(RedisQueueTest, KeepsFinalJobsSmall) {
  RedisQueue queue(options());
  const auto memory = [&] {
    const std::string text = redis({"INFO", "memory"}).text;
    const std::string name = "used_memory_dataset:";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  const std::string prompt = "a red apple on a blue background, painted with a broad brush";
  const auto finish = [&](int jobs) {
    for (int i = 0; i < jobs; ++i) {
      JobRequest request = small_request(prompt);
      request.model = "ERNIE-Image-Turbo";
      request.set_seeds({0x123456789abcdefu * static_cast<unsigned>(i + 1)});
      const std::string id = queue.submit(request, "ann", "", {}).id;
      queue.cancel(id);
    }
  };
  finish(100);
  const double before = memory();
  finish(300);
  EXPECT_LT((memory() - before) / 300, 600);
}

TEST_F(RedisQueueTest, ABadAnnouncementHidesNoOtherWorker) {
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel, const std::string& message) { warnings.push_back(message); });
  RedisQueue queue(options());
  queue.announce(worker_named("good"));
  queue.announce(worker_named(std::string(2000, 'x')));
  redis({"SET", "ernie-image:2:worker:x", "nonsense"});
  redis({"ZADD", "ernie-image:2:workers", "99999999999999", "x"});
  for (int i = 0; i < 2; ++i) {
    const std::vector<WorkerInfo> workers = queue.workers();
    ASSERT_EQ(workers.size(), 1u);
    EXPECT_EQ(workers[0].name, "good");
  }
  set_log_sink({});
  ASSERT_EQ(warnings.size(), 2u);  // each once
  for (const std::string& warning : warnings) {
    EXPECT_NE(warning.find("left out"), std::string::npos) << warning;
  }
}

TEST_F(RedisQueueTest, ForgetsWhatIsOver) {
  QueueOptions brief = options();
  brief.result_expiry = std::chrono::seconds(1);
  RedisQueue queue(brief);
  const std::string id = queue.submit(small_request(), "ann", "", {}).id;
  queue.claim(worker_named("w"), 1, kPatience);
  queue.complete(id, "w", result_of("bytes"));
  EXPECT_EQ(queue.image(id, 0), "bytes");
  EXPECT_TRUE(eventually([&] { return !queue.find(id); }));
  EXPECT_FALSE(queue.image(id, 0));
  EXPECT_TRUE(queue.list({.owner = "ann"}).empty());
  queue.submit(small_request(), "ann", "", {});
  queue.claim(worker_named("w"), 1, kPatience);  // which looks for what is over
  EXPECT_EQ(redis({"HLEN", "ernie-image:2:done"}).integer, 0);
  EXPECT_EQ(redis({"LLEN", "ernie-image:2:ended"}).integer, 0);
}

/// What those who wait for others ask of Redis meanwhile, and how soon they learn of it.
class RedisNewsTest : public RedisQueueTest {
 protected:
  using Clock = std::chrono::steady_clock;

  /// Scripts that Redis has run: nothing else is asked for while waiting.
  int scripts_run() const {
    const std::string text = redis({"INFO", "commandstats"}).text;
    int calls = 0;
    for (const std::string name : {"cmdstat_eval:calls=", "cmdstat_evalsha:calls="}) {
      const auto found = text.find(name);
      if (found != std::string::npos) calls += std::stoi(text.substr(found + name.size()));
    }
    return calls;
  }

  std::future<std::vector<Job>> claim_in_background(RedisQueue& worker) {
    return std::async(std::launch::async,
                      [&worker] { return worker.claim(worker_named("w"), 1, kPatience); });
  }
};

TEST_F(RedisNewsTest, AnIdleWorkerHardlyAsks) {
  RedisQueue gateway(options()), worker(options());
  auto claimed = claim_in_background(worker);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // connected by now, or it asks more
  const int before = scripts_run();
  std::this_thread::sleep_for(std::chrono::seconds(3));
  // It looks for silent workers' jobs each second, and then for jobs: 6. Polling took 60.
  EXPECT_LE(scripts_run() - before, 12);
  const std::string id = gateway.submit(small_request(), "ann", "", {}).id;
  EXPECT_EQ(claimed.get().at(0).id, id);
}

TEST_F(RedisNewsTest, AWaitingClientHardlyAsks) {
  RedisQueue gateway(options()), worker(options());
  const Job job = gateway.submit(small_request(), "ann", "", {});
  auto told =
      std::async(std::launch::async, [&] { return gateway.wait(job.id, job.version, kPatience); });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const int before = scripts_run();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_LE(scripts_run() - before, 2);  // polling took 20
  worker.claim(worker_named("w"), 1, kPatience);
  EXPECT_EQ(told.get()->state, JobState::running);
}

TEST_F(RedisNewsTest, AJobBeginsAtOnce) {
  RedisQueue gateway(options()), worker(options());
  std::vector<std::chrono::milliseconds> delays;
  for (int round = 0; round < 9; ++round) {
    auto claimed = claim_in_background(worker);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto start = Clock::now();
    const std::string id = gateway.submit(small_request(), "ann", "", {}).id;
    EXPECT_EQ(claimed.get().at(0).id, id);
    delays.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start));
  }
  std::ranges::sort(delays);
  // Without news it would look again a second after it last did. The median: a busy machine may
  // delay some.
  EXPECT_LT(delays[delays.size() / 2], std::chrono::milliseconds(300));
  RecordProperty("median_ms", static_cast<int>(delays[delays.size() / 2].count()));
}

TEST_F(RedisNewsTest, WithoutThemEverybodyLooksForHimself) {
  redis({"ACL", "SETUSER", "default", "resetchannels"});
  RedisQueue gateway(options()), worker(options());
  auto claimed = claim_in_background(worker);
  const std::string id = gateway.submit(small_request(), "ann", "", {}).id;
  EXPECT_EQ(claimed.get().at(0).id, id);

  const Job job = gateway.submit(small_request(), "ann", "", {});
  auto told =
      std::async(std::launch::async, [&] { return gateway.wait(job.id, job.version, kPatience); });
  EXPECT_EQ(worker.claim(worker_named("w"), 1, kPatience).at(0).id, job.id);
  EXPECT_EQ(told.get()->state, JobState::running);
}

TEST_F(RedisNewsTest, ComeAgainAfterARestart) {
  RedisQueue gateway(options()), worker(options());
  auto claimed = claim_in_background(worker);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  server_.kill();
  server_.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // to connect again
  const int before = scripts_run();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_LE(scripts_run() - before, 10);
  const std::string id = gateway.submit(small_request(), "ann", "", {}).id;
  EXPECT_EQ(claimed.get().at(0).id, id);
}

/// The processes of a fleet.
class FleetTest : public RedisQueueTest {
 protected:
  std::vector<std::string> worker_arguments(const std::string& name) const {
    return {"worker",    "--queue", server_.url(), "--name", name,
            "--threads", "1",       "--pe-cache",  "off"};
  }

  static JobRequest long_request(int steps) {
    JobRequest request = small_request("a cat");
    request.width_px = request.height_px = 64;
    request.num_inference_steps = steps;
    return request;
  }
};

TEST_F(FleetTest, AWorkerWhoseNamesNobodyCouldReadIsRefused) {
  for (const char* flag : {"--name", "--model-name"}) {
    for (const std::string& name : {std::string(2000, 'x'), std::string("a\nb")}) {
      std::vector<std::string> arguments = {"worker", "--queue", server_.url(), flag, name};
      const cli_test::Outcome outcome = cli_test::run_program(arguments);
      EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
      EXPECT_NE(outcome.err.find(flag), std::string::npos) << outcome.err;
    }
  }
}

TEST_F(FleetTest, WhoMayNotLogInSaysSoAndExits) {
  RedisConnection admin(parse_redis_url(server_.url()));
  admin.command({"CONFIG", "SET", "requirepass", "secret"});
  for (const char* command : {"worker", "serve"}) {
    std::vector<std::string> arguments = {command, "--queue", server_.url()};
    if (std::string(command) == "serve") arguments.insert(arguments.end(), {"--port", "0"});
    const cli_test::Outcome outcome = cli_test::run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << command;
    EXPECT_NE(outcome.err.find("NOAUTH"), std::string::npos) << outcome.err;
  }
  // With it, from a file or the environment, until it is changed.
  auto arguments = worker_arguments("w");
  arguments.insert(arguments.end(), {"--queue-password-file", write("password", "secret\n")});
  RunningProgram first(arguments);
  RunningProgram second(worker_arguments("v"),
                        {.environment = {"ERNIE_IMAGE_QUEUE_PASSWORD=secret"}});
  QueueOptions secured = options();
  secured.password = "secret";
  {
    RedisQueue queue(secured);
    ASSERT_TRUE(eventually([&] { return queue.workers().size() == 2; }));
  }
  admin.command({"CONFIG", "SET", "requirepass", "another"});
  admin.command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
  for (RunningProgram* worker : {&first, &second}) {
    const cli_test::Outcome outcome = worker->wait();
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find("WRONGPASS"), std::string::npos) << outcome.err;
  }
}

TEST_F(FleetTest, AKilledWorkersJobIsFinishedByAnother) {
  QueueOptions impatient = options();
  impatient.claim_expiry = std::chrono::milliseconds(500);
  RedisQueue queue(impatient);
  const std::string id = queue.submit(long_request(kSecondsOfSteps), "ann", "", {}).id;
  {
    RunningProgram victim(worker_arguments("victim"));
    ASSERT_TRUE(eventually([&] { return queue.find(id)->progress.step > 0; }));
    ::kill(victim.pid(), SIGKILL);
    EXPECT_EQ(victim.wait().exit_code, 128 + SIGKILL);
  }
  // What a worker with this patience would do; the program's own waits for half a minute.
  ASSERT_TRUE(eventually([&] {
    for (const Job& job : queue.claim(worker_named("impatient"), 1, kNoTime)) {
      queue.release(job.id, "impatient");
    }
    return queue.find(id)->state == JobState::queued;
  }));
  RunningProgram heir(worker_arguments("heir"));
  ASSERT_TRUE(eventually([&] { return is_final(queue.find(id)->state); }));
  const Job job = queue.find(id).value();
  EXPECT_EQ(job.state, JobState::completed);
  EXPECT_EQ(job.attempts, 2);
  EXPECT_EQ(queue.image(id, 0)->substr(1, 3), "PNG");
  ::kill(heir.pid(), SIGTERM);
  EXPECT_EQ(heir.wait().exit_code, 0);
}

TEST_F(FleetTest, AStoppedWorkerGivesBackWhatTakesTooLong) {
  RedisQueue queue(options());
  const std::string id = queue.submit(long_request(1000), "ann", "", {}).id;
  auto arguments = worker_arguments("w");
  arguments.insert(arguments.end(), {"--drain-seconds", "0"});
  RunningProgram worker(arguments);
  ASSERT_TRUE(eventually([&] { return queue.find(id)->progress.step > 0; }));
  ::kill(worker.pid(), SIGTERM);
  EXPECT_EQ(worker.wait().exit_code, 0);
  EXPECT_EQ(queue.find(id)->state, JobState::queued);
  EXPECT_EQ(queue.find(id)->attempts, 0);
}

/// A worker of this process that draws with the embedded model.
class RedisWorkerTest : public RedisQueueTest {
 protected:
  static WorkerOptions worker_options() {
    WorkerOptions options;
    options.runner.max_batch = 1;
    options.runner.enhance.cache = "off";
    options.name = "w";
    return options;
  }
  static Pipeline load() { return Pipeline::load({.model = "embedded:emoji-tiny"}); }

  static JobRequest picture_of(int steps) {
    JobRequest request = small_request("a cat");
    request.width_px = request.height_px = 64;
    request.num_inference_steps = steps;
    return request;
  }
};

TEST_F(RedisWorkerTest, AResultWaitsForARedisThatIsAway) {
  QueueOptions impatient = options();
  impatient.patience = std::chrono::milliseconds(100);
  RedisQueue queue(impatient), other(options());
  Worker worker(queue, load(), worker_options());
  const std::string id = other.submit(picture_of(kSecondsOfSteps / 4), "ann", "", {}).id;
  ASSERT_TRUE(eventually([&] { return other.find(id)->progress.step > kSecondsOfSteps / 5; }));
  server_.kill();
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // the picture is done meanwhile
  server_.start();
  ASSERT_TRUE(eventually([&] { return is_final(other.find(id)->state); }));
  EXPECT_EQ(other.find(id)->state, JobState::completed);
  EXPECT_EQ(other.find(id)->attempts, 1);
  const std::string next = other.submit(picture_of(2), "ann", "", {}).id;  // it goes on by itself
  ASSERT_TRUE(eventually([&] { return is_final(other.find(next)->state); }));
  EXPECT_EQ(other.find(next)->state, JobState::completed);
}

TEST_F(RedisWorkerTest, AFullRedisFailsTheJobOnce) {
  RedisQueue queue(options());
  const std::string id = queue.submit(picture_of(30), "ann", "", {}).id;
  const std::string waiting = queue.submit(picture_of(2), "ann", "", {}).id;
  redis({"CONFIG", "SET", "maxmemory", "1mb"});
  {
    Worker worker(queue, load(), worker_options());
    ASSERT_TRUE(eventually([&] { return is_final(queue.find(id)->state); }));
  }
  const Job job = queue.find(id).value();
  EXPECT_EQ(job.state, JobState::failed);
  EXPECT_EQ(job.attempts, 1);
  EXPECT_EQ(job.failure.value().kind, "io");
  EXPECT_NE(job.failure->message.find("maxmemory"), std::string::npos) << job.failure->message;
  redis({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_EQ(queue.counts().running, 0);
  EXPECT_TRUE(queue.find(waiting));
}

TEST_F(FleetTest, AWorkerSurvivesARestartOfRedis) {
  RedisQueue queue(options());
  RunningProgram worker(worker_arguments("w"));
  const std::string before = queue.submit(long_request(kSecondsOfSteps / 2), "ann", "", {}).id;
  ASSERT_TRUE(eventually([&] { return queue.find(before)->progress.step > 0; }));
  server_.kill();
  server_.start();
  const std::string after = queue.submit(long_request(2), "ann", "", {}).id;
  ASSERT_TRUE(eventually([&] { return is_final(queue.find(after)->state); }));
  EXPECT_EQ(queue.find(before)->state, JobState::completed);
  EXPECT_EQ(queue.find(before)->attempts, 1);
  EXPECT_EQ(queue.find(after)->state, JobState::completed);
  ::kill(worker.pid(), SIGTERM);
  EXPECT_EQ(worker.wait().exit_code, 0);
}

}  // namespace
}  // namespace ernie_image
