#include "experiments/runs/run_checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "experiments/records/records.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

RunCheckpoint Example(double value) {
  RunCheckpoint checkpoint;
  checkpoint.state.tensors["conv.weight"] = at::full({2, 3}, value, at::kFloat);
  checkpoint.state.tensors["training/position"] = at::arange(8);
  checkpoint.state.metadata["strategy/text"] = "\"crc32c\":\"12345678\"";  // looks like the checksum, but is a value
  checkpoint.records = {WithChecksum(R"({"epoch":0})"), WithChecksum(R"({"epoch":1})")};
  checkpoint.run_id = "abc";
  return checkpoint;
}

TEST(RunCheckpointTest, ReadsBackWhatWasWritten) {
  const absl::StatusOr<RunCheckpoint> read = ParseRunCheckpoint(SerializeRunCheckpoint(Example(1.5)), "bytes");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->run_id, "abc");
  EXPECT_EQ(read->records, Example(1.5).records);
  EXPECT_EQ(read->state.metadata, Example(1.5).state.metadata);
  EXPECT_TRUE(at::equal(read->state.tensors.at("conv.weight"), at::full({2, 3}, 1.5, at::kFloat)));
}

TEST(RunCheckpointTest, EveryBitThatFlipsAndEveryCutIsNoticed) {
  const std::string bytes = SerializeRunCheckpoint(Example(1.5));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int bit : {0x01, 0x20, 0x80}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ bit);
      EXPECT_FALSE(ParseRunCheckpoint(damaged, "bytes").ok()) << "byte " << i << ", bit " << bit;
    }
    EXPECT_FALSE(ParseRunCheckpoint(bytes.substr(0, i), "bytes").ok()) << "cut at " << i;
  }
  EXPECT_FALSE(ParseRunCheckpoint(bytes + "x", "bytes").ok());
}

TEST(RunCheckpointTest, TheOneBeforeIsKeptAndUsedWhereTheLastIsDamaged) {
  const std::string folder = FreshFolder("run_checkpoint_previous");
  std::vector<std::string> warnings;
  EXPECT_FALSE(ReadRunCheckpoint(folder, "abc", warnings).has_value());
  ASSERT_TRUE(WriteRunCheckpoint(folder, Example(1)).ok());
  ASSERT_TRUE(WriteRunCheckpoint(folder, Example(2)).ok());
  const auto weight = [&] {
    const auto read = ReadRunCheckpoint(folder, "abc", warnings);
    return read ? read->state.tensors.at("conv.weight")[0][0].item<double>() : -1;
  };
  EXPECT_EQ(weight(), 2);
  EXPECT_TRUE(warnings.empty());
  const std::string path = JoinPath(folder, "checkpoint.safetensors");
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() - 3] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_EQ(weight(), 1);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("checkpoint.safetensors: its checksum does not hold"), std::string::npos) << warnings[0];
  // It has replaced the damaged one, so the next write cannot lose it: killed after its first step, that write leaves
  // the previous one.
  EXPECT_FALSE(PathExists(JoinPath(folder, "checkpoint.previous.safetensors")));
  EXPECT_EQ(weight(), 1);
  EXPECT_EQ(warnings.size(), 1u);
  ASSERT_EQ(std::rename(path.c_str(), JoinPath(folder, "checkpoint.previous.safetensors").c_str()), 0);
  EXPECT_EQ(weight(), 1);
  // A checkpoint of another run does not count.
  EXPECT_FALSE(ReadRunCheckpoint(folder, "other", warnings).has_value());
  ASSERT_TRUE(SettleRunCheckpoints(folder, /*keep=*/false).ok());
  EXPECT_TRUE(ListFolder(folder)->empty());
}

TEST(RunCheckpointTest, AFinishedRunKeepsItsLastOneAsItsState) {
  const std::string folder = FreshFolder("run_checkpoint_state");
  std::string damage;
  EXPECT_FALSE(FindRunState(folder, "abc", damage).has_value());
  ASSERT_TRUE(WriteRunCheckpoint(folder, Example(1)).ok());
  ASSERT_TRUE(WriteRunCheckpoint(folder, Example(2)).ok());
  ASSERT_TRUE(SettleRunCheckpoints(folder, /*keep=*/true).ok());
  EXPECT_EQ(*ListFolder(folder), std::vector<std::string>{"state.safetensors"});
  ASSERT_TRUE(SettleRunCheckpoints(folder, /*keep=*/true).ok()) << "a second time, as after a kill";
  const auto state = FindRunState(folder, "abc", damage);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->state.tensors.at("conv.weight")[0][0].item<double>(), 2);
  EXPECT_TRUE(FindRunState(folder, "", damage).has_value());
  EXPECT_FALSE(FindRunState(folder, "other", damage).has_value());
  EXPECT_EQ(damage, "");
  const std::string path = JoinPath(folder, kStateFile);
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() - 3] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_FALSE(FindRunState(folder, "abc", damage).has_value());
  EXPECT_NE(damage.find("state.safetensors: its checksum does not hold"), std::string::npos) << damage;
}

TEST(RecordsTest, AnEpochsLineReadsBackEqual) {
  EpochRecord record;
  record.epoch = 7;
  record.measures.set_learning_rate(0.1);
  record.measures.set_train_loss(1.0 / 3);
  record.measures.set_train_top1(0.625);
  record.measures.set_test_loss(2.0 / 7);
  record.measures.set_test_top1(0.5);
  record.measures.set_test_top5(0.9);
  record.measures.set_validation_loss(0.25);
  record.measures.set_validation_top1(0.75);
  record.measures.set_penalty(1e-300);
  record.measures.set_penalty_gradient_ratio(12.5);
  record.measures.set_mean_abs_rho(0.1234567890123456);
  record.measures.set_mask_updates(3);
  record.measures.set_mask_changes(40);
  record.measures.set_returned_filters(2);
  record.measures.set_filter_sparsity(0.6);
  record.measures.set_live_parameters(1234567890123);
  record.measures.mutable_live_filters()->insert({{"conv1", 16}, {"layer1.0.conv1", 0}});
  const std::string line = EpochLine(record);
  const absl::StatusOr<EpochRecord> read = ParseEpochLine(line);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(EpochLine(*read), line);
  EXPECT_EQ(read->measures.train_loss(), 1.0 / 3);
  EXPECT_EQ(read->measures.validation_top1(), 0.75);
  EXPECT_EQ(read->measures.live_filters().size(), 2u);
  EXPECT_EQ(read->measures.live_filters().at("conv1"), 16);
  record.measures.clear_test_loss();
  record.measures.clear_test_top1();
  record.measures.clear_test_top5();
  record.measures.clear_validation_loss();
  record.measures.clear_validation_top1();
  record.measures.clear_mean_abs_rho();
  record.diverged = true;
  record.measures.set_train_loss(std::nan(""));
  const absl::StatusOr<EpochRecord> diverged = ParseEpochLine(EpochLine(record));
  ASSERT_TRUE(diverged.ok()) << diverged.status();
  EXPECT_FALSE(diverged->measures.has_test_top1());
  EXPECT_FALSE(diverged->measures.has_mean_abs_rho());
  EXPECT_TRUE(std::isnan(diverged->measures.train_loss()));
  for (size_t i = 0; i < line.size(); ++i) {
    EXPECT_FALSE(ParseEpochLine(line.substr(0, i)).ok()) << i;
    std::string damaged = line;
    damaged[i] ^= 2;
    EXPECT_FALSE(ParseEpochLine(damaged).ok()) << i;
  }
}

// Its checksum is right: it was made by hand, or by another program.
TEST(RecordsTest, AnEpochsLineThatLacksAFieldOrHasAnotherKindOfNumberIsRefused) {
  EpochRecord record;
  record.measures.set_test_loss(0.5);
  record.measures.set_test_top1(0.25);
  record.measures.set_test_top5(0.75);
  (*record.measures.mutable_live_filters())["conv1"] = 16;
  const std::string line = EpochLine(record);
  const std::string object = absl::StrCat(line.substr(0, line.rfind(",\"crc32c\"")), "}");
  ASSERT_TRUE(ParseEpochLine(WithChecksum(object)).ok());
  const auto with = [&](const std::string& from, const std::string& to) {
    EXPECT_NE(object.find(from), std::string::npos) << from;
    return ParseEpochLine(WithChecksum(absl::StrReplaceAll(object, {{from, to}})));
  };
  EXPECT_FALSE(with("\"train_loss\":0.0,", "").ok());
  EXPECT_FALSE(with("\"test_loss\":0.5", "\"test_loss\":\"0.5\"").ok());
  EXPECT_FALSE(with("\"mean_abs_rho\":null", "\"mean_abs_rho\":{}").ok());
  EXPECT_FALSE(with("\"live_macs\":0", "\"live_macs\":0.5").ok());
  EXPECT_FALSE(with("\"live_macs\":0", "\"live_macs\":1e300").ok());
  EXPECT_FALSE(with("\"conv1\":16", "\"conv1\":1e300").ok());
  EXPECT_FALSE(with("\"diverged\":false", "\"diverged\":0").ok());
  const absl::StatusOr<EpochRecord> without_top1 = with("\"test_top1\":0.25,", "");
  ASSERT_TRUE(without_top1.ok()) << without_top1.status();
  EXPECT_FALSE(without_top1->measures.has_test_top1());
}

TEST(RecordsTest, ATornLastLineIsDropped) {
  const std::string first = WithChecksum(R"({"epoch":0})"), second = WithChecksum(R"({"epoch":1})");
  const std::string text = absl::StrCat(first, "\n", second, "\n");
  EXPECT_EQ(WholeLines(text), (std::vector<std::string>{first, second}));
  for (size_t cut = first.size() + 1; cut < text.size(); ++cut) {
    EXPECT_EQ(WholeLines(text.substr(0, cut)), std::vector<std::string>{first}) << cut;
  }
  EXPECT_TRUE(WholeLines("").empty());
  EXPECT_TRUE(WholeLines("\n").empty());
}

}  // namespace
}  // namespace prunelab
