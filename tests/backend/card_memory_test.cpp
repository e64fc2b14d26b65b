// Which weights are on a card when, counted by the stand-ins' books: one body for all vendors.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "backend/card_network.h"
#include "core/ledger.h"
#include "ernie_image/error.h"
#include "support/device.h"

namespace ernie_image {
namespace {

class CardMemory : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (test_device() != GetParam()) GTEST_SKIP() << "another device is tested";
    make();  // opens its libraries
    auto books = card_books(GetParam());
    if (!books) GTEST_SKIP() << "the books are the stand-in's";
    card.emplace(std::move(*books));
  }

  static std::unique_ptr<Backend> make(const std::string& offload = "auto") {
    return make_backend({.device = GetParam(), .device_options = {{"offload", offload}}});
  }

  /// What the backend counts is what the card has handed out.
  void expect_counted(const Backend& ops) const {
    EXPECT_EQ(ops.device_memory()->held_bytes, card->in_use());
    EXPECT_EQ(ops.device_memory()->peak_bytes, card->peak());
  }

  std::optional<CountedCard> card;
};

TEST_P(CardMemory, WithoutOffloadEverythingStays) {
  const auto ops = make("none");
  const Network network(*ops, "");
  EXPECT_LT(card->in_use(), kSlackBytes);  // nothing goes up before it is used
  expect_network_right(network.run());
  ops->end_stage();
  EXPECT_GE(card->in_use(), kNetworkLayers * kLayerBytes);
  expect_counted(*ops);
}

/// A larger picture may need the room of layers that were all there before.
TEST_P(CardMemory, EachStageHasTheLayersThatItsPlanSays) {
  const auto ops = make();
  const Network network(*ops, "");
  for (const bool streams : {false, true, false}) {
    ops->begin_stage({.streams_layers = streams});
    expect_network_right(network.run());
    if (streams) {
      EXPECT_LT(card->in_use(), 3 * kLayerBytes);
    } else {
      EXPECT_GE(card->in_use(), kNetworkLayers * kLayerBytes);
    }
    ops->end_stage();
  }
}

/// A stage that was broken off has no end; the next one may move the weights of recorded steps.
TEST_P(CardMemory, ABrokenStageLeavesNothingThatTheNextOneWouldUse) {
  card->set_capacity(2 * kNetworkLayers * kLayerBytes);
  const auto ops = make();
  const Network network(*ops, "");
  const auto step = [&] {
    const Backend::Step whole = [&](std::span<const Tensor> in) {
      return ops->linear(in[0], network.first());
    };
    const std::array inputs = {ops->upload(Network::input())};
    return ops->download(ops->repeat(inputs, {}, whole));
  };
  ops->begin_stage({});
  Tensor expected;
  for (int call = 0; call < 3; ++call) expected = step();
  ops->begin_stage({.streams_layers = true});
  for (int call = 0; call < 3; ++call) EXPECT_EQ(nmse(step(), expected), 0);
  EXPECT_LT(card->in_use(), 3 * kLayerBytes);
}

TEST_P(CardMemory, AStageLeavesWhenItIsDone) {
  const auto ops = make("encoder");
  const Network encoder(*ops, "model."), transformer(*ops, "");
  const std::uint64_t before = card->in_use();
  for (int request = 0; request < 2; ++request) {
    for (const Network* network : {&encoder, &transformer}) {
      expect_network_right(network->run());
      ops->end_stage();
      ops->release_cache();
      EXPECT_LT(card->in_use(), before + kSlackBytes);
    }
  }
  EXPECT_LT(card->peak(), kNetworkLayers * kLayerBytes + kSlackBytes);
  expect_counted(*ops);
}

TEST_P(CardMemory, LayersAreStreamedThroughTwoBuffers) {
  const auto ops = make("layers");
  const Network network(*ops, "");
  for (int step = 0; step < 5; ++step) expect_network_right(network.run());
  EXPECT_GE(card->peak(), 2 * kLayerBytes);
  EXPECT_LT(card->peak(), 2 * kLayerBytes + kSlackBytes);
  expect_counted(*ops);
  EXPECT_EQ(card->violations(), 0u);
}

/// The room is the stage's, however much more the card has.
TEST_P(CardMemory, AutomaticKeepsAFinishedStageAsLongAsThereIsRoom) {
  const std::uint64_t network_bytes = kNetworkLayers * kLayerBytes;
  for (const std::uint64_t layers : {3 * kNetworkLayers, kNetworkLayers + 1}) {
    const auto ops = make();
    const Network encoder(*ops, "model."), transformer(*ops, "");
    const Backend::StageRoom room = {layers * kLayerBytes + kSlackBytes, kSlackBytes, false};
    ops->begin_stage(room);
    encoder.run();
    ops->end_stage();
    ops->begin_stage(room);
    expect_network_right(transformer.run());
    EXPECT_EQ(card->in_use() >= 2 * network_bytes, layers == 3 * kNetworkLayers);
    EXPECT_LE(card->in_use(), room.bytes);
  }
}

/// A rehearsal holds to the byte what the run holds, and takes nothing of the card.
TEST_P(CardMemory, IsTheSameInARehearsal) {
  for (const char* offload : {"none", "encoder", "layers"}) {
    const auto ops = make(offload);
    { Network(*ops, "").run(); }  // its operations have the workspace that they ask for
    ops->begin_stage({});
    ops->release_cache();
    const std::uint64_t before = card->in_use();
    Ledger ledger;
    const auto peak = [](Backend& backend, const Network& network) {
      backend.begin_stage({});
      backend.reset_peak_memory();
      for (int step = 0; step < 3; ++step) network.run();
      backend.end_stage();
      return backend.device_memory()->peak_bytes;
    };
    {
      const HostRehearsal scope(ledger);
      const auto rehearsing = ops->rehearsal(ledger, std::uint64_t{1} << 40, offload);
      const std::uint64_t empty = rehearsing->device_memory()->held_bytes;
      const Network network(*rehearsing, "");
      const std::uint64_t planned = peak(*rehearsing, network) - empty;
      EXPECT_EQ(card->in_use(), before) << offload;
      ledger.enter(planned, &Ledger::Held::copies);  // told to the run below
    }
    const Network network(*ops, "");
    EXPECT_EQ(peak(*ops, network) - before, ledger.held().copies) << offload;
  }
}

TEST_P(CardMemory, AutomaticDropsAFinishedStageWhenRoomIsNeeded) {
  card->set_capacity(kNetworkLayers * kLayerBytes * 3 / 2);
  const auto ops = make();
  const Network encoder(*ops, "model."), transformer(*ops, "");
  encoder.run();
  EXPECT_GE(card->in_use(), kNetworkLayers * kLayerBytes);
  ops->end_stage();
  expect_network_right(transformer.run());
  ops->end_stage();
  expect_network_right(encoder.run());
}

TEST_P(CardMemory, WithoutOffloadFullMemoryIsAnError) {
  card->set_capacity(kNetworkLayers * kLayerBytes / 2);
  const auto ops = make("none");
  const Network network(*ops, "");
  try {
    network.run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
  }
}

TEST_P(CardMemory, WeightsGoWithTheirHandles) {
  const auto ops = make("none");
  const std::uint64_t before = card->in_use();
  { Network(*ops, "").run(); }
  ops->release_cache();
  EXPECT_LT(card->in_use(), before + kSlackBytes);
}

TEST_P(CardMemory, EverythingIsGivenBack) {
  { Network(*make(), "").run(); }
  EXPECT_EQ(card->in_use(), 0u);
}

TEST_P(CardMemory, TheQueueIsTimedByTheCard) {
  const auto ops = make();
  const Network network(*ops, "");
  const auto timer = ops->make_timer();
  timer->start();
  const double nothing = timer->stop();
  timer->start();
  network.run();
  const double run = timer->stop();
  EXPECT_GE(nothing, 0);
  EXPECT_GT(run, nothing);
  EXPECT_LT(run, 100);
}

/// What the registry lets through is what the device takes; it may lack a library for it.
TEST_P(CardMemory, EveryValueOfItsOptionsIsTaken) {
  for (const DeviceOption& option : find_device_kind(GetParam())->options) {
    for (const std::string& value : option.values) {
      try {
        make_backend({.device = GetParam(), .device_options = {{option.name, value}}});
      } catch (const Error& error) {
        EXPECT_NE(error.kind(), ErrorKind::invalid_argument) << error.what();
      }
    }
  }
}

TEST_P(CardMemory, UnknownOptionsAndCardsAreErrors) {
  EXPECT_THROW(make_backend({.device = GetParam() + ":7000"}), Error);
  EXPECT_THROW(
      make_backend({.device = GetParam(), .device_options = {{GetParam() + "_attention", "fast"}}}),
      Error);
  EXPECT_THROW(make_backend({.device = GetParam(), .device_options = {{"speed", "auto"}}}), Error);
  EXPECT_THROW(make("some"), Error);
}

INSTANTIATE_TEST_SUITE_P(Ascend, CardMemory, testing::Values("ascend"));
INSTANTIATE_TEST_SUITE_P(Cuda, CardMemory, testing::Values("cuda"));

}  // namespace
}  // namespace ernie_image
