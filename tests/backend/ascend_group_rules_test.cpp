// Rules of groups of cards: what HCCL refuses, and what would make cards wait for ever.
#include <future>
#include <thread>

#include "ascend_rules.h"
#include "backend/ascend/connect.h"
#include "backend/ascend/hccl.h"

namespace ernie_image::ascend {
namespace {

class AscendGroupRules : public AscendRules {
 protected:
  void SetUp() override {
    AscendRules::SetUp();
    if (stream == nullptr) return;
    other = std::make_unique<Stream>(1);
    ranks = connect(std::vector<Stream*>{stream.get(), other.get()});
  }
  void TearDown() override {
    ranks.clear();
    other.reset();
    if (stream != nullptr) stream->device().bind();
    AscendRules::TearDown();
  }

  /// `work(rank)` of both ranks, each on a thread of its own; what each threw.
  template <typename Work>
  std::array<std::string, 2> on_both(const Work& work) {
    std::array<std::string, 2> errors;
    const auto run = [&](int rank) {
      try {
        work(rank);
      } catch (const Error& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
    };
    std::thread thread([&] { run(1); });
    run(0);
    thread.join();
    return errors;
  }
  Stream& stream_of(int rank) { return rank == 0 ? *stream : *other; }
  Collective& at(int rank) { return *ranks[static_cast<std::size_t>(rank)]; }
  Tensor numbers(int rank, const Shape& shape, float first) {
    Tensor host = Tensor::host(DType::f32, shape);
    for (std::int64_t i = 0; i < host.size(); ++i)
      host.data<float>()[i] = first + static_cast<float>(i);
    return stream_of(rank).upload(host);
  }

  std::unique_ptr<Stream> other;
  std::vector<std::unique_ptr<Collective>> ranks;
};

std::vector<float> floats(const Tensor& host) {
  const auto values = host.span<float>();
  return {values.begin(), values.end()};
}

TEST_F(AscendGroupRules, EachRankGetsItsPartFromEveryOther) {
  std::array<std::vector<float>, 2> exchanged, gathered, summed;
  const auto errors = on_both([&](int rank) {
    const auto i = static_cast<std::size_t>(rank);
    const Tensor x = numbers(rank, {2, 2}, static_cast<float>(10 * rank));
    Stream& own = stream_of(rank);
    exchanged[i] = floats(own.download(at(rank).all_to_all(x)));
    gathered[i] = floats(own.download(at(rank).all_gather(x)));
    summed[i] = floats(own.download(at(rank).all_reduce(x)));
  });
  EXPECT_EQ(errors, (std::array<std::string, 2>()));
  EXPECT_EQ(exchanged[0], (std::vector<float>{0, 1, 10, 11}));
  EXPECT_EQ(exchanged[1], (std::vector<float>{2, 3, 12, 13}));
  for (const std::size_t rank : {0u, 1u}) {
    EXPECT_EQ(gathered[rank], (std::vector<float>{0, 1, 2, 3, 10, 11, 12, 13}));
    EXPECT_EQ(summed[rank], (std::vector<float>{10, 12, 14, 16}));
  }
}

TEST_F(AscendGroupRules, WhatLeavesACardIsCounted) {
  StandinBooks before{}, after{};
  STANDIN(standin_books)(0, &before);
  on_both([&](int rank) {
    const Tensor x = numbers(rank, {2, 8}, 0);
    at(rank).all_to_all(x);
    at(rank).all_gather(x);
    stream_of(rank).download(at(rank).all_reduce(x));
  });
  STANDIN(standin_books)(0, &after);
  // Of each card half of 64 bytes, all of them, and both halves once.
  EXPECT_EQ(after.exchanged_bytes - before.exchanged_bytes, 2u * (32 + 64 + 64));
}

TEST_F(AscendGroupRules, RanksThatDoNotCallTheSameAreToldSo) {
  const auto differing = [&](const auto& first, const auto& second) {
    const auto errors = on_both([&](int rank) {
      if (rank == 0) first();
      if (rank == 1) second();
      stream_of(rank).queue().synchronize();
    });
    const bool told = (errors[0] + errors[1]).find("has called") != std::string::npos;
    const bool both = !errors[0].empty() && !errors[1].empty();
    STANDIN(standin_forget_violations)();
    ranks = connect(std::vector<Stream*>{stream.get(), other.get()});
    return told && both;
  };
  const Tensor x = numbers(0, {2, 4}, 0), y = numbers(1, {2, 4}, 0), z = numbers(1, {2, 6}, 0);
  const Tensor narrow = other->upload(round_to(Tensor::host(DType::f32, {2, 4}), DType::bf16));
  EXPECT_TRUE(differing([&] { at(0).all_to_all(x); }, [&] { at(1).all_to_all(z); }));
  EXPECT_TRUE(differing([&] { at(0).all_to_all(x); }, [&] { at(1).all_to_all(narrow); }));
  EXPECT_TRUE(differing([&] { at(0).all_to_all(x); }, [&] { at(1).all_reduce(y); }));
  EXPECT_TRUE(differing(
      [&] {
        at(0).all_gather(x);
        at(0).all_reduce(x);
      },
      [&] {
        at(1).all_reduce(y);
        at(1).all_gather(y);
      }));
}

TEST_F(AscendGroupRules, StreamsMemoryAndCardsAreChecked) {
  std::array<std::int32_t, 2> cards = {0, 1}, same = {0, 0};
  std::array<HcclComm, 2> handles{};
  const auto refused_with = [&](const std::string& words, HcclResult status) {
    return fails(words, static_cast<aclError>(status));
  };
  stream->device().bind();
  EXPECT_TRUE(refused_with("twice", hccl().HcclCommInitAll(2, same.data(), handles.data())));
  ASSERT_EQ(hccl().HcclCommInitAll(2, cards.data(), handles.data()), HCCL_SUCCESS);
  const Tensor x = numbers(0, {2, 4}, 0), y = stream->empty(DType::f32, {2, 4});
  const Tensor foreign = numbers(1, {2, 4}, 0);
  stream->device().bind();
  const auto send = [&](const Tensor& from, const Tensor& to, HcclComm handle, aclrtStream queue) {
    return hccl().HcclAlltoAll(from.bytes(), 4, HCCL_DATA_TYPE_FP32, to.bytes(), 4,
                               HCCL_DATA_TYPE_FP32, handle, queue);
  };
  aclrtStream own = stream->queue().handle();
  EXPECT_TRUE(refused_with("stream is null", send(x, y, handles[0], nullptr)));
  EXPECT_TRUE(refused_with("overlap", send(x, x, handles[0], own)));
  EXPECT_TRUE(refused_with("another card than this rank's", send(x, y, handles[1], own)));
  EXPECT_TRUE(refused_with("device", send(foreign, y, handles[0], own)));
  EXPECT_TRUE(refused_with("no such communicator", send(x, y, nullptr, own)));
  EXPECT_TRUE(refused_with("must be equal",
                           hccl().HcclAlltoAll(x.bytes(), 4, HCCL_DATA_TYPE_FP32, y.bytes(), 2,
                                               HCCL_DATA_TYPE_FP32, handles[0], own)));
  for (const HcclComm handle : handles) EXPECT_EQ(hccl().HcclCommDestroy(handle), HCCL_SUCCESS);
}

/// So that the others do not wait for it.
TEST_F(AscendGroupRules, ARankThatGivesUpEndsTheOperationsOfTheOthers) {
  const Tensor x = numbers(0, {2, 4}, 0);
  std::promise<void> called;
  const auto errors = on_both([&](int rank) {
    if (rank == 1) {
      called.get_future().wait();
      at(1).abort();
      return;
    }
    at(0).all_to_all(x);
    called.set_value();
    stream->queue().synchronize();
  });
  EXPECT_NE(errors[0].find("destroyed before"), std::string::npos) << errors[0];
  EXPECT_TRUE(refused("given up", [&] { at(0).all_to_all(x); }));
}

}  // namespace
}  // namespace ernie_image::ascend
