// Devices by name, and their options.
#include "backend/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image {
namespace {

std::string refusal(const std::string& device, const DeviceOptions& given) {
  try {
    options_of_device(device, given);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    return error.what();
  }
  return "taken";
}

TEST(Registry, TheCpuIsTheFirstAndHasNoCards) {
  ASSERT_FALSE(device_kinds().empty());
  EXPECT_EQ(device_kinds().front()->name, "cpu");
  EXPECT_EQ(find_device_kind("cpu"), device_kinds().front());
  EXPECT_FALSE(device_kinds().front()->has_cards);
  EXPECT_THROW(split_device_list("cpu:0"), Error);
  EXPECT_EQ(find_device_kind("abacus"), nullptr);
}

TEST(Registry, EveryOptionHasADefaultAndAnotherValue) {
  for (const DeviceOption& option : all_device_options()) {
    EXPECT_GE(option.values.size(), 2u) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_EQ(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"),
              std::string::npos);
  }
}

TEST(Registry, OptionsThatAreNotGivenHaveTheirDefaults) {
  for (const DeviceKind* kind : device_kinds()) {
    const DeviceOptions options = options_of_device(kind->name, {});
    ASSERT_EQ(options.size(), kind->options.size());
    for (const DeviceOption& option : kind->options)
      EXPECT_EQ(options.at(option.name), option.values.front());
  }
}

TEST(Registry, OptionsOfOtherDevicesAreLeftOut) {
  const auto& cpu = find_device_kind("cpu")->options;
  for (const DeviceOption& option : all_device_options()) {
    if (std::ranges::find(cpu, option.name, &DeviceOption::name) != cpu.end()) continue;
    EXPECT_EQ(options_of_device("cpu", {{option.name, option.values.back()}}),
              options_of_device("cpu", {}));
  }
}

TEST(Registry, UnknownOptionsAndValuesAreErrors) {
  const std::string unknown = refusal("cpu", {{"speed", "high"}});
  EXPECT_NE(unknown.find("option \"speed\""), std::string::npos) << unknown;
  for (const DeviceKind* kind : device_kinds()) {
    for (const DeviceOption& option : kind->options) {
      const std::string text = refusal(kind->name, {{option.name, "fast"}});
      EXPECT_EQ(
          text.find(flag_of_option(option.name) + ": \"fast\" is none of " + option.values.front()),
          0u)
          << text;
    }
  }
}

TEST(Registry, AnUnknownDeviceIsAnErrorThatNamesThoseThereAre) {
  try {
    make_backend({.device = "gpu"});
    FAIL() << "made";
  } catch (const Error& error) {
    for (const DeviceKind* kind : device_kinds())
      EXPECT_NE(std::string(error.what()).find(kind->name), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ernie_image
