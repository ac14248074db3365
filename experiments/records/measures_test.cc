// The consistency of the options in metrics.proto, and how a run's measures follow from its epochs'.
#include "experiments/records/measures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace prunelab {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

bool IsNumber(const std::string& name) {
  const Measure* measure = FindMeasure(name);
  return measure != nullptr && !measure->is_by_layer();
}

TEST(MeasuresTest, EveryFieldSaysWhatItIsAndWhereItComesFrom) {
  for (const Measure& measure : AllMeasures()) {
    const MeasureOptions& options = measure.options();
    EXPECT_NE(options.label(), "") << measure.name();
    if (measure.is_whole()) EXPECT_EQ(options.digits(), 0) << measure.name();
    EXPECT_EQ(options.has_ratio(), options.has_ratio() && IsNumber(options.ratio().above())) << measure.name();
    EXPECT_EQ(options.has_ratio(), options.has_ratio() && IsNumber(options.ratio().below())) << measure.name();
    EXPECT_EQ(options.of_run() == MeasureOptions::BEST, options.has_best_of()) << measure.name();
    if (options.has_best_of()) EXPECT_TRUE(IsNumber(options.best_of())) << measure.name();
    // What follows from epochs is written in each of them; a curve is drawn of them.
    if (options.of_run() == MeasureOptions::LAST || options.of_run() == MeasureOptions::SUM || options.has_curve()) {
      EXPECT_NE(options.epoch(), MeasureOptions::NOWHERE) << measure.name();
    }
    if (options.of_run() != MeasureOptions::MEASURED_ONCE) {
      EXPECT_NE(options.result(), MeasureOptions::NOWHERE) << measure.name();
    }
    EXPECT_TRUE(options.result() == MeasureOptions::NOWHERE || options.clock() == MeasureOptions::NOWHERE)
        << measure.name() << " is a clock, and no clock is in result.json";
    EXPECT_NE(options.result(), MeasureOptions::ALWAYS) << measure.name() << ": a run that failed has none";
    if (options.table() || options.has_terminal() || options.has_trade_off()) {
      EXPECT_TRUE(options.has_ratio() || options.result() != MeasureOptions::NOWHERE ||
                  options.clock() != MeasureOptions::NOWHERE)
          << measure.name() << " is shown of runs, which do not have it";
    }
  }
}

TEST(MeasuresTest, EveryMetricIsAMeasureOfTheLastEpochWithADirection) {
  for (int i = Metric_MIN; i <= Metric_MAX; ++i) {
    const MeasureOptions& options = MeasureOf(static_cast<Metric>(i)).options();
    EXPECT_EQ(options.of_run(), MeasureOptions::LAST) << Metric_Name(i);
  }
}

TEST(MeasuresTest, ARunHasTheLastTheSumOrTheBestOfItsEpochs) {
  Measures run;
  for (const double top1 : {0.5, 0.75, 0.25}) {
    Measures epoch;
    epoch.set_test_top1(top1);
    epoch.set_train_loss(1);
    epoch.set_returned_filters(3);
    if (top1 != 0.25) epoch.set_mean_abs_rho(0.1);
    AddEpoch(epoch, &run);
  }
  EXPECT_EQ(run.test_top1(), 0.25);
  EXPECT_EQ(run.test_top1_best(), 0.75);
  EXPECT_EQ(run.returned_filters(), 9);
  EXPECT_FALSE(run.has_mean_abs_rho()) << "the last epoch has none";
  EXPECT_FALSE(run.has_train_loss());
}

TEST(MeasuresTest, ASumThatIsTooLargeStaysAtTheLargestNumber) {
  Measures run, epoch;
  epoch.set_returned_filters(kLargest - 1);
  for (int i = 0; i < 3; ++i) AddEpoch(epoch, &run);
  EXPECT_EQ(run.returned_filters(), kLargest);
}

TEST(MeasuresTest, ARatioIsWorkedOut) {
  const Measure& ratio = *FindMeasure("compression_ratio");
  Measures measures;
  EXPECT_FALSE(ratio.Value(measures).has_value());
  measures.set_parameters(100);
  measures.set_live_parameters(40);
  EXPECT_EQ(ratio.Value(measures), 2.5);
  measures.set_live_parameters(0);
  EXPECT_FALSE(ratio.Value(measures).has_value());
}

TEST(MeasuresTest, ValuesBySeveralKinds) {
  Measures measures;
  FindMeasure("test_loss")->Set(0.5, &measures);
  FindMeasure("live_macs")->SetWhole(kLargest, &measures);
  FindMeasure("live_filters")->SetLayer("conv2", 3, &measures);
  FindMeasure("live_filters")->SetLayer("conv1", 2, &measures);
  EXPECT_EQ(measures.test_loss(), 0.5);
  EXPECT_EQ(FindMeasure("live_macs")->Whole(measures), kLargest);
  EXPECT_EQ(measures.live_filters().at("conv2"), 3);
  EXPECT_EQ(FindMeasure("live_filters")->ByLayer(measures),
            (std::map<std::string, int64_t>{{"conv1", 2}, {"conv2", 3}}));
  // In a record of an epoch one that is always written is 0 where nothing set it; others are absent.
  EXPECT_EQ(FindMeasure("penalty")->EpochValue(measures), 0);
  EXPECT_FALSE(FindMeasure("penalty")->Value(measures).has_value());
  EXPECT_FALSE(FindMeasure("test_top1")->EpochValue(measures).has_value());
  EXPECT_EQ(FindMeasure("test_top1")->Heading(), "test top-1 (%)");
  EXPECT_EQ(FindMeasure("test_loss")->Heading(), "test loss");
  EXPECT_EQ(FindMeasure("nonsense"), nullptr);
}

}  // namespace
}  // namespace prunelab
