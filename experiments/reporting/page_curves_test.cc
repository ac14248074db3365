#include "experiments/reporting/page_curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using Json = nlohmann::json;

// A run of one layer that ended every epoch with so many live filters.
RunRecords RunOf(const std::string& arm, const std::vector<int32_t>& live) {
  RunRecords run;
  run.result.arm = arm;
  run.result.status = "done";
  run.epochs.layers = {"conv"};
  run.epochs.live_filters = live;
  run.epochs.values.assign(EpochColumns().size() * live.size(), 0);
  return run;
}

TEST(PageCurvesTest, LiveFiltersAreWholeNumbersOfTheLayersOwn) {
  ReportRecords records;
  ArmFacts wide, narrow, pruned;
  wide.name = "wide";
  wide.filters["conv"] = 2048;
  narrow.name = "narrow";  // the same layer in another network
  narrow.filters["conv"] = 6;
  pruned.name = "pruned";  // from before its first epoch's end
  records.arms = {wide, narrow, pruned};
  records.runs = {RunOf("wide", {2048, 1025}), RunOf("narrow", {6, 6}), RunOf("pruned", {8, 4})};
  const Json drawn = Json::parse(LiveFilters(records, 100));
  EXPECT_THAT(drawn[0]["z"][0], ElementsAre(2048, 1025));
  EXPECT_THAT(drawn[0]["max"], ElementsAre(2048));
  EXPECT_THAT(drawn[1]["z"][0], ElementsAre(6, 6));
  EXPECT_THAT(drawn[1]["max"], ElementsAre(6));
  EXPECT_THAT(drawn[2]["max"], ElementsAre(8)) << "of a network that is not known: the most that a run had live";
  records.arms[2].filters["conv"] = 16;
  EXPECT_THAT(Json::parse(LiveFilters(records, 100))[2]["max"], ElementsAre(16));
}

}  // namespace
}  // namespace prunelab
