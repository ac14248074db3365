#include "ml/execution/saved_state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using testing::UnorderedElementsAre;

TrainingState SomeState() {
  TrainingState state;
  state.tensors[SavedState::NETWORK]["conv.weight"] = at::full({2}, 1.0);
  state.tensors[SavedState::MASK]["conv"] = at::full({2}, 2.0);
  state.tensors[SavedState::START_MASK]["conv"] = at::full({2}, 3.0);
  state.tensors[SavedState::MOMENTUM]["conv.weight"] = at::full({2}, 4.0);
  state.tensors[SavedState::GRADIENT]["conv"] = at::full({2}, 5.0);
  state.tensors[SavedState::STRATEGY]["mask/conv"] = at::full({2}, 6.0);
  (*state.message.mutable_strategy())["seed/1"] = "text";
  SavedState::Position& position = *state.message.mutable_position();
  position.set_epoch(1);
  position.set_iteration(2);
  position.set_images(3);
  position.set_correct(4);
  position.set_mask_updates(5);
  position.set_mask_changes(6);
  position.set_returned_filters(7);
  position.set_optimizer_started(1);
  SavedState::Sums& sums = *state.message.mutable_sums();
  sums.set_loss(0.5);
  sums.set_learning_rate(0.25);
  sums.set_penalty(0.125);
  sums.set_penalty_gradient_ratio(2);
  state.message.set_total_epochs_read(false);
  return state;
}

// The names that checkpoints of runs have in their files: a state with others could not be read any more.
TEST(SavedStateTest, AFileHasTheNamesOfCheckpointsThatExist) {
  const Safetensors file = ToSafetensors(SomeState());
  std::map<std::string, double> first;
  for (const auto& [name, tensor] : file.tensors) first[name] = tensor[0].item<double>();
  EXPECT_THAT(first,
              ElementsAre(Pair("conv.weight", 1), Pair("gradient/conv", 5), Pair("mask/conv", 2),
                          Pair("momentum/conv.weight", 4), Pair("start_mask/conv", 3), Pair("strategy/mask/conv", 6),
                          Pair("training/position", 1), Pair("training/sums", 0.5)));
  EXPECT_TRUE(at::equal(file.tensors.at("training/position"), at::tensor({1, 2, 3, 4, 5, 6, 7, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(file.tensors.at("training/sums"), at::tensor({0.5, 0.25, 0.125, 2.0}, at::kDouble)));
  EXPECT_THAT(file.metadata,
              UnorderedElementsAre(Pair("strategy/seed/1", "text"), Pair("training/total_epochs_read", "no")));
}

TEST(SavedStateTest, AStateComesBackFromItsFile) {
  const TrainingState state = SomeState(), back = ParseTrainingState(ToSafetensors(state));
  EXPECT_EQ(back.message.DebugString(), state.message.DebugString());
  ASSERT_EQ(back.tensors.size(), state.tensors.size());
  for (const auto& [group, tensors] : state.tensors) {
    ASSERT_EQ(back.tensors.at(group).size(), tensors.size());
    for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::equal(back.tensors.at(group).at(name), tensor)) << name;
  }
}

TEST(SavedStateTest, WhatAnEarlierProgramDidNotSayIsTakenAsRead) {
  Safetensors file = ToSafetensors(SomeState());
  EXPECT_FALSE(ParseTrainingState(file).message.total_epochs_read());
  file.metadata.clear();
  EXPECT_TRUE(ParseTrainingState(file).message.total_epochs_read());
}

TEST(SavedStateTest, IsKnownByItsPosition) {
  Safetensors file = ToSafetensors(SomeState());
  EXPECT_TRUE(IsTrainingState(file));
  file.tensors.erase("training/position");
  EXPECT_FALSE(IsTrainingState(file));
  EXPECT_FALSE(ParseTrainingState(file).message.has_position());
}

TEST(StateReaderTest, TellsAllDifferencesInOneError) {
  Safetensors file = ToSafetensors(SomeState());
  file.tensors["training/sums"] = at::zeros({3}, at::kDouble);
  file.tensors.erase("training/position");
  const TrainingState state = ParseTrainingState(file);
  StateReader reader(state);
  at::Tensor weight = at::zeros({2});
  reader.Load(SavedState::NETWORK, "conv.weight", weight);
  EXPECT_TRUE(at::equal(weight, at::full({2}, 1.0)));
  EXPECT_FALSE(reader.Take(SavedState::MASK, "conv", at::zeros({3})).defined());
  EXPECT_FALSE(reader.Take(SavedState::MOMENTUM, "conv.bias", at::zeros({2})).defined());
  reader.AddDifference("is of another day");
  const absl::Status status = reader.Finish("old.safetensors");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : {"old.safetensors: is no state of this training", "mask/conv has another shape or type",
                           "missing momentum/conv.bias", "is of another day", "missing training/position",
                           "training/sums has another shape or type", "unexpected momentum/conv.weight",
                           "unexpected strategy/mask/conv"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("unexpected training/sums")));
}

TEST(StateReaderTest, AcceptsAStateOfWhichAllWasTaken) {
  const TrainingState state = SomeState();
  StateReader reader(state);
  for (const auto& [group, tensors] : state.tensors) {
    for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::equal(reader.Take(group, name, tensor), tensor));
  }
  EXPECT_TRUE(reader.Finish("state").ok());
}

}  // namespace
}  // namespace prunelab
