#include "experiments/sweep/rank_options.h"

#include <gtest/gtest.h>

#include <map>

namespace prunelab {
namespace {

Environment Of(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) {
    const auto value = values.find(name);
    return value == values.end() ? "" : value->second;
  };
}

std::string ErrorOf(const std::string& flag, const std::map<std::string, std::string>& values) {
  return std::string(ParseRanks(flag, Of(values)).status().message());
}

TEST(RankOptionsTest, ANumberIsOfProcessesOfThisMachine) {
  // Variables that a surrounding job has set do not count.
  const absl::StatusOr<RankOptions> options = ParseRanks("4", Of({{"RANK", "2"}, {"WORLD_SIZE", "8"}}));
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->count, 4);
  EXPECT_FALSE(options->launched);
  EXPECT_FALSE(options->follows());
  for (const char* flag : {"0", "-1", "two", "", "65537", "1.5"}) {
    EXPECT_NE(ErrorOf(flag, {}).find("must be a number of processes from 1 on, or env"), std::string::npos) << flag;
  }
}

TEST(RankOptionsTest, TorchrunSaysWhichRankThisIs) {
  const std::map<std::string, std::string> variables = {{"RANK", "5"},
                                                        {"WORLD_SIZE", "8"},
                                                        {"LOCAL_RANK", "1"},
                                                        {"LOCAL_WORLD_SIZE", "4"},
                                                        {"MASTER_ADDR", "10.0.0.3"},
                                                        {"MASTER_PORT", "29500"},
                                                        {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                                        {"TORCHELASTIC_RESTART_COUNT", "2"}};
  const absl::StatusOr<RankOptions> options = ParseRanks("env", Of(variables));
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->rank, 5);
  EXPECT_EQ(options->count, 8);
  EXPECT_EQ(options->local_rank, 1);
  EXPECT_EQ(options->ranks_here, 4);
  EXPECT_EQ(options->address, "10.0.0.3");
  EXPECT_EQ(options->port, 29500);
  EXPECT_TRUE(options->store_is_there);
  EXPECT_EQ(options->attempt, "2");
  EXPECT_TRUE(options->follows());
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"RANK", "8"}, {"WORLD_SIZE", "none"}, {"MASTER_PORT", "70000"}, {"LOCAL_RANK", "6"}}) {
    std::map<std::string, std::string> wrong = variables;
    wrong[name] = value;
    const std::string error = ErrorOf("env", wrong);
    EXPECT_NE(error.find("the variable " + name + " is \"" + value + "\""), std::string::npos) << error;
  }
  std::map<std::string, std::string> restarted = variables;
  restarted["TORCHELASTIC_MAX_RESTARTS"] = "3";
  EXPECT_TRUE(ParseRanks("env", Of(restarted)).ok());
  restarted["GROUP_WORLD_SIZE"] = "2";
  EXPECT_NE(ErrorOf("env", restarted).find("--max-restarts=3"), std::string::npos);
  restarted["TORCHELASTIC_MAX_RESTARTS"] = "0";
  EXPECT_TRUE(ParseRanks("env", Of(restarted)).ok());
  std::map<std::string, std::string> without = variables;
  without.erase("MASTER_ADDR");
  EXPECT_NE(ErrorOf("env", without).find("MASTER_ADDR"), std::string::npos);
}

TEST(RankOptionsTest, SlurmSaysWhichRankThisIs) {
  std::map<std::string, std::string> variables = {{"SLURM_PROCID", "3"},
                                                  {"SLURM_NTASKS", "4"},
                                                  {"SLURM_LOCALID", "1"},
                                                  {"SLURM_STEP_NODELIST", "gpu[07-08]"},
                                                  {"SLURM_JOB_ID", "40123"}};
  absl::StatusOr<RankOptions> options = ParseRanks("env", Of(variables));
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->rank, 3);
  EXPECT_EQ(options->count, 4);
  EXPECT_EQ(options->address, "gpu07");
  EXPECT_EQ(options->port, 15000 + 40123 % 15000);
  EXPECT_FALSE(options->store_is_there);
  variables["MASTER_ADDR"] = "head";
  variables["MASTER_PORT"] = "12345";
  options = ParseRanks("env", Of(variables));
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->address, "head");
  EXPECT_EQ(options->port, 12345);
}

TEST(RankOptionsTest, WithoutALauncherThereIsNoEnvironment) {
  EXPECT_NE(ErrorOf("env", {}).find("neither RANK and WORLD_SIZE (torchrun) nor SLURM_PROCID (srun) is set"),
            std::string::npos);
}

TEST(RankOptionsTest, TheFirstHostOfASlurmList) {
  EXPECT_EQ(FirstHost("node"), "node");
  EXPECT_EQ(FirstHost("a,b"), "a");
  EXPECT_EQ(FirstHost("node[03-05,9],gpu1"), "node03");
  EXPECT_EQ(FirstHost("node[7]"), "node7");
  EXPECT_EQ(FirstHost("n[1,3]"), "n1");
}

}  // namespace
}  // namespace prunelab
