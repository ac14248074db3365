#include "experiments/search/asha.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "ml/base/files.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;
using Known = std::map<std::pair<int64_t, int64_t>, double>;  // by trial and rung

constexpr double kLost = -std::numeric_limits<double>::infinity();

struct Case {
  AshaPlan plan;
  Known scores;
  std::vector<AshaJob> jobs;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const Json all = Json::parse(ReadFile("experiments/search/asha_values.json").value());
  for (const Json& json : all) {
    Case& one = cases.emplace_back();
    one.plan = {json["trials"], json["reduction"], json["parallel"], json["rungs"]};
    for (size_t trial = 0; trial < json["scores"].size(); ++trial) {
      for (size_t rung = 0; rung < json["scores"][trial].size(); ++rung) {
        const Json& score = json["scores"][trial][rung];
        one.scores[{trial, rung}] = score.is_null() ? kLost : score.get<double>();
      }
    }
    for (const Json& job : json["jobs"]) one.jobs.push_back({job[0], job[1]});
  }
  return cases;
}

AshaScore Of(const Known& known) {
  return [&known](const AshaJob& job) -> std::optional<double> {
    const auto found = known.find({job.trial, job.rung});
    if (found == known.end()) return std::nullopt;
    return found->second;
  };
}

TEST(AshaTest, JobsAreThoseOfTheIndependentComputation) {
  const std::vector<Case> cases = Cases();
  ASSERT_EQ(cases.size(), 60);
  int64_t promotions = 0;
  for (const Case& one : cases) {
    const AshaReplay replay = ReplayAsha(one.plan, Of(one.scores));
    EXPECT_EQ(replay.jobs, one.jobs);
    EXPECT_TRUE(replay.open.empty());
    for (const AshaJob& job : replay.jobs) promotions += job.rung > 0;
  }
  EXPECT_GT(promotions, 200);  // or nothing was decided
}

// Whichever open job is done first, and however often everything is forgotten but the scores, the jobs are the same.
TEST(AshaTest, JobsDoNotDependOnTheOrderInWhichScoresBecomeKnown) {
  std::mt19937 draw(1);
  for (const Case& one : Cases()) {
    Known known;
    while (true) {
      const AshaReplay replay = ReplayAsha(one.plan, Of(known));
      ASSERT_LE(replay.jobs.size(), one.jobs.size());
      EXPECT_TRUE(std::equal(replay.jobs.begin(), replay.jobs.end(), one.jobs.begin()));
      ASSERT_LE(static_cast<int64_t>(replay.open.size()), one.plan.parallel);
      if (replay.open.empty()) {
        EXPECT_EQ(replay.jobs, one.jobs);
        break;
      }
      const AshaJob next = replay.open[draw() % replay.open.size()];
      known[{next.trial, next.rung}] = one.scores.at({next.trial, next.rung});
    }
  }
}

TEST(AshaTest, OneInReductionGoesOnAndTheBestOfThem) {
  AshaPlan plan;
  plan.trials = 9;
  plan.reduction = 3;
  plan.parallel = 9;  // the first rung is known as a whole
  plan.rungs = {1, 3, 9};
  Known scores;
  for (int64_t trial = 0; trial < 9; ++trial) {
    for (int64_t rung = 0; rung < 3; ++rung) scores[{trial, rung}] = static_cast<double>((trial * 4) % 9);
  }
  const AshaReplay replay = ReplayAsha(plan, Of(scores));
  std::vector<int64_t> second, third;
  for (const AshaJob& job : replay.jobs) {
    if (job.rung == 1) second.push_back(job.trial);
    if (job.rung == 2) third.push_back(job.trial);
  }
  // (4 t) mod 9: trial 2 has 8, trial 4 has 7, trial 6 has 6. While scores come one after the other, others may have
  // been the best of the first three or six.
  EXPECT_THAT(second, testing::IsSupersetOf({2, 4}));
  EXPECT_LE(second.size(), 5);
  EXPECT_THAT(third, testing::ElementsAre(2));
}

TEST(AshaTest, LostTrialsNeverGoOn) {
  AshaPlan plan;
  plan.trials = 6;
  plan.reduction = 2;
  plan.parallel = 2;
  plan.rungs = {1, 2};
  Known scores;
  for (int64_t trial = 0; trial < 6; ++trial) {
    for (int64_t rung = 0; rung < 2; ++rung) scores[{trial, rung}] = kLost;
  }
  const AshaReplay replay = ReplayAsha(plan, Of(scores));
  EXPECT_EQ(replay.jobs.size(), 6);
  EXPECT_TRUE(replay.open.empty());
}

}  // namespace
}  // namespace prunelab
