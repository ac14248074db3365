#include "experiments/runs/run_events.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "experiments/runs/tensorboard_events.pb.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

Model OneConvolution() {
  NetworkWriter net;
  net.Image(1, 4, 4, "input");
  net.Conv("conv1", "input", {3, 3, 1, 1});
  net.GlobalAveragePool("pool", "conv1");
  net.Flatten("flatten", "pool");
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(net.Take());
  EXPECT_TRUE(info.ok()) << info.status();
  Model model = Model::Create(*info, at::kFloat, at::kCPU);
  const at::NoGradGuard no_gradient;
  for (int64_t filter = 0; filter < 3; ++filter) {
    model.Get("conv1.weight").detach()[filter].fill_(filter == 1 ? -0.5 : static_cast<double>(filter));
  }
  return model;
}

TEST(RunEventsTest, AnEpochsNumbersAndImportances) {
  const std::string folder = FreshFolder("run_events");
  RunEvents events = RunEvents::Create(folder, "static/cov", 7, 100, 0).value();
  const Model model = OneConvolution();
  EpochRecord record;
  record.measures.set_train_loss(0.25);
  record.measures.set_test_loss(0.5);
  record.measures.set_test_top1(0.75);
  record.measures.set_test_top5(1.0);
  record.measures.set_mask_changes(11);
  (*record.measures.mutable_live_filters())["conv1"] = 2;
  for (record.epoch = 0; record.epoch < 6; ++record.epoch) ASSERT_TRUE(events.AddEpoch(record, model).ok());
  ASSERT_TRUE(events.End("done").ok());

  const std::string bytes = ReadFile(JoinPath(folder, "events.out.tfevents.0000000000.prunelab")).value();
  std::map<std::string, std::vector<float>> scalars;
  std::map<std::string, std::vector<tensorboard::Histogram>> histograms;
  std::string hyperparameters;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data() + at, sizeof(size));
    tensorboard::Event event;
    ASSERT_TRUE(event.ParseFromString(bytes.substr(at + 12, size)));
    at += size + 16;
    for (const auto& value : event.summary().value()) {
      if (value.has_simple_value()) scalars[value.tag()].push_back(value.simple_value());
      if (value.has_histo()) histograms[value.tag()].push_back(value.histo());
      if (value.tag() == "_hparams_/session_start_info") hyperparameters = value.metadata().plugin_data().content();
    }
  }
  EXPECT_EQ(scalars.at("train_loss"), std::vector<float>(6, 0.25f));
  EXPECT_EQ(scalars.at("test_top1"), std::vector<float>(6, 0.75f));
  EXPECT_EQ(scalars.at("mask_changes"), std::vector<float>(6, 11));
  EXPECT_EQ(scalars.at("live_filters/conv1"), std::vector<float>(6, 2));
  EXPECT_EQ(scalars.count("mean_abs_rho"), 0u);             // it has no value here
  ASSERT_EQ(histograms.at("importance/conv1").size(), 2u);  // of epochs 0 and 5: some twenty in 100
  const tensorboard::Histogram& histogram = histograms.at("importance/conv1").front();
  EXPECT_EQ(histogram.num(), 3);
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_EQ(histogram.max(), 2);
  EXPECT_EQ(histogram.sum(), 2.5);

  tensorboard::HparamsPluginData data;
  ASSERT_TRUE(data.ParseFromString(hyperparameters));
  const auto& start = data.session_start_info();
  EXPECT_EQ(start.hparams().at("arm").string_value(), "static/cov");
  EXPECT_EQ(start.hparams().at("level_1").string_value(), "static");
  EXPECT_EQ(start.hparams().at("level_2").string_value(), "cov");
  EXPECT_EQ(start.hparams().at("seed").number_value(), 7);
  EXPECT_EQ(start.group_name(), "static/cov");
}

// As a number, a double, it would be the seed below.
TEST(RunEventsTest, ALargeSeedIsATextWithAllItsDigits) {
  const std::string folder = FreshFolder("run_events_seed");
  ASSERT_TRUE(RunEvents::Create(folder, "base", (int64_t{1} << 53) + 1, 1, 0).ok());
  const std::string bytes = ReadFile(JoinPath(folder, "events.out.tfevents.0000000000.prunelab")).value();
  int64_t found = 0;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data() + at, sizeof(size));
    tensorboard::Event event;
    ASSERT_TRUE(event.ParseFromString(bytes.substr(at + 12, size)));
    at += size + 16;
    for (const auto& value : event.summary().value()) {
      tensorboard::HparamsPluginData data;
      ASSERT_TRUE(data.ParseFromString(value.metadata().plugin_data().content()));
      EXPECT_EQ(data.session_start_info().hparams().at("seed").string_value(), "9007199254740993");
      ++found;
    }
  }
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace prunelab
