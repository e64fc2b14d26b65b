// What the tests of the stand-in's rules share. docs/ascend_backend.md lists rule by rule which
// test shows that a deliberately wrong call is refused; without that, that the backend passes on
// the stand-in would mean little.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "ascend_standin/machine.h"
#include "backend/ascend/call.h"
#include "ernie_image/error.h"

namespace ernie_image::ascend {

using card::DeviceBlock;
using card::Event;
using card::PinnedBlock;
using card::Queue;

template <typename Function>
Function* standin_function(const char* name) {
  void* const library = dlopen("libascendcl.so", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}
#define STANDIN(name) ernie_image::ascend::standin_function<decltype(::name)>(#name)

class AscendRules : public testing::Test {
 protected:
  void SetUp() override {
    if (!cann().problem.empty() || STANDIN(standin_books) == nullptr)
      GTEST_SKIP() << "these calls are for the stand-in only";
    stream = std::make_unique<Stream>(0);
  }
  void TearDown() override {
    if (stream == nullptr) return;
    STANDIN(standin_hold)(0);
    stream.reset();
    STANDIN(standin_forget_violations)();
  }

  Tensor filled(DType dtype, const Shape& shape) {
    return stream->upload(round_to(Tensor::host(DType::f32, shape), dtype));
  }
  Tensor bools(const Shape& shape) { return stream->upload(Tensor::host(DType::boolean, shape)); }

  /// Whether the call is refused, with these words.
  template <typename Call>
  testing::AssertionResult refused(const std::string& words, const Call& call) {
    try {
      call();
    } catch (const Error& error) {
      if (std::string(error.what()).find(words) != std::string::npos)
        return testing::AssertionSuccess();
      return testing::AssertionFailure() << "other words: " << error.what();
    }
    return testing::AssertionFailure() << "it was accepted";
  }

  template <typename Operation, typename... Arguments>
  testing::AssertionResult refuses(const std::string& words, const Operation& operation,
                                   const Arguments&... arguments) {
    return refused(words, [&] { stream->call(operation, arguments...); });
  }

  /// Whether a call of C gave an error with these words.
  static testing::AssertionResult fails(const std::string& words, aclError status) {
    const char* const message = cann().aclGetRecentErrMsg();
    const std::string text = message == nullptr ? "" : message;
    if (status != 0 && text.find(words) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "status " << status << ": " << text;
  }

  std::string violation() { return STANDIN(standin_first_violation)(); }

  std::unique_ptr<Stream> stream;
};

}  // namespace ernie_image::ascend
