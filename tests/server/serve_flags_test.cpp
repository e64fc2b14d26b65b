#include "commands/serve_flags.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "jobs/dated_folder.h"
#include "server/origin_check.h"

namespace ernie_image {
namespace {

TEST(ServeFlags, OpensToOthersOnlyWithKeysOrOnPurpose) {
  ServeFlags flags;
  flags.host = "0.0.0.0";
  EXPECT_THROW(check_serve_flags(flags), Error);
  flags.insecure = true;
  EXPECT_NO_THROW(check_serve_flags(flags));
  const std::vector<std::string>& hosts = flags.service.allowed_hosts;
  EXPECT_NE(std::find(hosts.begin(), hosts.end(), kAnyAddress), hosts.end());
  flags.service.allowed_hosts = {"*"};
  EXPECT_NO_THROW(check_serve_flags(flags));
  EXPECT_TRUE(hosts.empty());
  flags.insecure = false;
  flags.api_key_file = "keys";
  EXPECT_NO_THROW(check_serve_flags(flags));
  EXPECT_TRUE(hosts.empty());
}

TEST(ServeFlags, KnowsLoopback) {
  EXPECT_TRUE(is_loopback("127.0.0.1"));
  EXPECT_TRUE(is_loopback("127.8.8.8"));
  EXPECT_TRUE(is_loopback("::1"));
  EXPECT_TRUE(is_loopback("localhost"));
  for (const char* host :
       {"0.0.0.0", "::", "", "10.0.0.1", "localhost.example.org", "127.evil.org"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

TEST(ServeFlags, ChecksHostsAtLoopback) {
  ServeFlags flags;
  flags.service.allowed_hosts = {"Pictures.Example.org:80"};
  check_serve_flags(flags);
  EXPECT_EQ(flags.service.allowed_hosts.front(), "pictures.example.org");
  EXPECT_EQ(flags.service.allowed_hosts.size(), 5u);
}

TEST(ServeFlags, GivesAGatewayAQueueToShare) {
  ServeFlags flags;
  flags.role = "gateway";
  EXPECT_THROW(check_serve_flags(flags), Error);
}

TEST(ServeFlags, SavePicturesInAFolderUnlessTheyAreKeptElsewhere) {
  const auto folder_of = [](auto change) {
    ServeFlags flags;
    change(flags);
    check_serve_flags(flags);
    return flags.save_directory;
  };
  EXPECT_EQ(folder_of([](ServeFlags&) {}), default_pictures_folder());
  EXPECT_EQ(folder_of([](ServeFlags& flags) { flags.saves_nothing = true; }), "");
  EXPECT_EQ(folder_of([](ServeFlags& flags) { flags.queue.jobs_db = "jobs.db"; }), "");
  EXPECT_EQ(folder_of([](ServeFlags& flags) { flags.queue.output_directory = "pictures"; }), "");
  EXPECT_EQ(folder_of([](ServeFlags& flags) {
              flags.queue.jobs_db = "jobs.db";
              flags.save_directory = "pictures";
            }),
            "pictures");
  EXPECT_THROW(folder_of([](ServeFlags& flags) {
                 flags.save_directory = "pictures";
                 flags.saves_nothing = true;
               }),
               Error);
}

TEST(ServeFlags, KnowWhetherPicturesOutliveTheServer) {
  ServeFlags flags;
  check_serve_flags(flags);
  EXPECT_FALSE(flags.service.keeps_jobs);
  flags.queue.jobs_db = "jobs.db";
  check_serve_flags(flags);
  EXPECT_TRUE(flags.service.keeps_jobs);
}

}  // namespace
}  // namespace ernie_image
