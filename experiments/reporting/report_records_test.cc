// Results folders as they may be found: whole, incomplete, torn, edited, mixed. The report says what is wrong and what
// was left out.
#include "experiments/reporting/report_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "experiments/reporting/report.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kAblation[] = R"(name: "made_up"
base { network { [type.googleapis.com/prunelab.NobodyLinksThis] { depth: 8 } } future_field: 3 }
factor { name: "pruning" level { name: "none" } level { name: "some" } }
factor { name: "regularizer" level { name: "none" } level { name: "cov" } }
exclude: "none/cov"
seeds { first: 1 count: 2 }
comparison { treatment: "some/cov" control: "some/none" margin: 0.005 }
)";

class ReportRecordsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = FreshFolder(absl::StrCat("records_", testing::UnitTest::GetInstance()->current_test_info()->name()));
    Write("ablation.textproto", kAblation);
    for (const char* arm : {"none/none", "some/none", "some/cov"}) {
      for (const int64_t seed : {1, 2}) AddRun(arm, seed);
    }
  }
  std::string Path(const std::string& name) const { return JoinPath(root_, name); }
  void Write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(CreateFolders(Path(name).substr(0, Path(name).rfind('/'))).ok());
    ASSERT_TRUE(WriteFileAtomically(Path(name), text).ok());
  }
  std::string Read(const std::string& name) const { return ReadFile(Path(name)).value(); }

  void AddRun(const std::string& arm, int64_t seed, const std::string& status = "done") const {
    std::vector<EpochRecord> records;
    std::string lines;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      EpochRecord& record = records.emplace_back();
      record.epoch = epoch;
      record.measures.set_train_loss(1.0 / static_cast<double>(epoch + 1));
      record.measures.set_test_loss(0.5);
      record.measures.set_test_top1(0.25 + 0.125 * static_cast<double>(epoch + seed));
      record.measures.set_test_top5(0.99);
      record.measures.mutable_live_filters()->insert({{"conv1", 16 - epoch}, {"layer1.0.conv1", 16}});
      absl::StrAppend(&lines, EpochLine(record), "\n");
    }
    RunResult result = MissingResult(arm, seed);
    result.status = status;
    result.epochs = 3;
    result.measures.set_test_top1(records.back().measures.test_top1());
    result.measures.set_test_top1_best(result.measures.test_top1());
    result.measures.set_filter_sparsity(0);
    result.measures.set_weight_sparsity(0);
    result.measures.set_paper_sparsity(0);
    result.measures.set_live_parameters(0);
    result.measures.set_live_macs(0);
    result.measures.set_returned_filters(0);
    result.measures.set_test_top5(0.99);
    result.measures.set_test_loss(0.5);
    result.run_id = absl::StrCat(arm, seed);
    const std::string folder = absl::StrCat(arm, "/", seed, "/");
    Write(folder + "epochs.jsonl", lines);
    Write(folder + "timing.jsonl", WithChecksum("{\"epoch\":0,\"seconds\":2.0,\"images\":100}") + "\n");
    Write(folder + "result.json", ResultJson(result));
    Write(folder + "config.textproto", "network { [type.googleapis.com/prunelab.NobodyLinksThis] { depth: 8 } }");
    Write(folder + "provenance.json", "{\"cpu_capability\": \"AVX2\", \"threads\": 1}");
  }

  ReportRecords Load() const { return ReadResults({root_}).value(); }
  std::string Status(const ReportRecords& records, const std::string& arm, int64_t seed) const {
    for (const RunRecords& run : records.runs) {
      if (run.result.arm == arm && run.result.seed == seed) return run.result.status;
    }
    return "not there";
  }

  std::string root_;
};

TEST_F(ReportRecordsTest, AWholeFolder) {
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, IsEmpty()) << absl::StrJoin(records.notes, "\n");
  ASSERT_EQ(records.runs.size(), 6u);
  EXPECT_EQ(records.arms[0].name, "none/none");
  EXPECT_EQ(records.arms[2].name, "some/cov");
  const RunRecords& run = records.runs[1];
  EXPECT_EQ(run.result.seed, 2);
  EXPECT_EQ(run.result.measures.seconds(), 2.0);
  EXPECT_EQ(run.epochs.count(), 3);
  const MeasureList& columns = EpochColumns();
  const auto top1 = std::find(columns.begin(), columns.end(), FindMeasure("test_top1"));
  EXPECT_FLOAT_EQ(run.epochs.Value(2, static_cast<size_t>(top1 - columns.begin())), 0.75f);
  EXPECT_TRUE(std::isnan(run.epochs.Value(3, 0)));
  EXPECT_THAT(run.epochs.layers, ElementsAre("conv1", "layer1.0.conv1"));
  EXPECT_THAT(run.epochs.live_filters, ElementsAre(16, 16, 15, 16, 14, 16));
  EXPECT_EQ(records.ablation.comparison_size(), 1);
}

TEST_F(ReportRecordsTest, WhatIsNoResultsFolderIsRefused) {
  EXPECT_THAT(std::string(ReadResults({Path("nowhere")}).status().message()), HasSubstr("is no folder"));
  ASSERT_TRUE(CreateFolders(Path("empty")).ok());
  EXPECT_THAT(std::string(ReadResults({Path("empty")}).status().message()),
              HasSubstr("holds neither ablation.textproto"));
  const absl::StatusOr<std::string> report = WriteReport({Path("empty")}, Path("out"));
  EXPECT_FALSE(report.ok());
  EXPECT_FALSE(PathExists(Path("out")));
}

TEST_F(ReportRecordsTest, MissingRunsAreCounted) {
  ASSERT_GT(fs::remove_all(Path("some/cov/2")), 0u);
  ASSERT_TRUE(fs::remove(Path("some/none/1/result.json")));
  const ReportRecords records = Load();
  EXPECT_EQ(records.notes.front(), "Incomplete: of 6 runs 2 are missing and 0 failed.");
  EXPECT_EQ(records.notes.at(1), "Unfinished, so left out: some/none seed 1 (3 epochs).");
  EXPECT_EQ(Status(records, "some/cov", 2), "missing");
  EXPECT_EQ(Status(records, "some/none", 1), "missing");
}

TEST_F(ReportRecordsTest, ATornLineLeavesTheRunOut) {
  const std::string lines = Read("some/none/1/epochs.jsonl");
  Write("some/none/1/epochs.jsonl", lines.substr(0, lines.size() - 40));
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes,
              Contains(HasSubstr("Left out: some/none seed 1: epochs.jsonl line 3 is torn or was changed")));
  EXPECT_EQ(Status(records, "some/none", 1), "missing");
}

TEST_F(ReportRecordsTest, AnEditedLineLeavesTheRunOut) {
  Write("some/none/1/epochs.jsonl",
        absl::StrReplaceAll(Read("some/none/1/epochs.jsonl"), {{"\"train_loss\":0.5", "\"train_loss\":0.4"}}));
  EXPECT_THAT(Load().notes, Contains(HasSubstr("epochs.jsonl line 2 was changed after it was written")));
}

TEST_F(ReportRecordsTest, AnEditedResultLeavesTheRunOut) {
  Write("some/cov/1/result.json",
        absl::StrReplaceAll(Read("some/cov/1/result.json"), {{"\"test_top1\": 0.625", "\"test_top1\": 0.925"}}));
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, Contains(HasSubstr("Left out: some/cov seed 1: result.json and epochs.jsonl have "
                                                "another test_top1:")));
  EXPECT_EQ(Status(records, "some/cov", 1), "missing");
}

TEST_F(ReportRecordsTest, EveryNumberOfAResultIsHeldAgainstItsEpochs) {
  for (const char* name : {"test_top5", "test_loss", "filter_sparsity", "weight_sparsity", "paper_sparsity",
                           "live_parameters", "live_macs", "test_top1_best", "returned_filters"}) {
    AddRun("some/cov", 1);
    const std::string text = Read("some/cov/1/result.json");
    const size_t begin = text.find(absl::StrCat("\"", name, "\": ")) + std::string(name).size() + 4;
    ASSERT_LT(begin, text.size()) << name;
    Write("some/cov/1/result.json", text.substr(0, begin) + "7" + text.substr(text.find(',', begin)));
    EXPECT_THAT(Load().notes, Contains(HasSubstr(absl::StrCat("epochs.jsonl have another ", name, ":")))) << name;
  }
}

TEST_F(ReportRecordsTest, AResultOfMoreEpochsThanThereAre) {
  Write("some/cov/1/result.json",
        absl::StrReplaceAll(Read("some/cov/1/result.json"), {{"\"epochs\": 3", "\"epochs\": 30"}}));
  EXPECT_THAT(Load().notes, Contains(HasSubstr("result.json tells of 30 epochs, epochs.jsonl of 3")));
}

TEST_F(ReportRecordsTest, NonsenseAsAResult) {
  Write("some/cov/1/result.json", "{\"arm\": ");
  Write("some/cov/2/result.json", absl::StrReplaceAll(Read("some/cov/2/result.json"), {{"\"done\"", "\"perfect\""}}));
  Write("some/none/1/result.json", Read("some/none/2/result.json"));
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, Contains(HasSubstr("some/cov seed 1: result.json: is no JSON object")));
  EXPECT_THAT(records.notes, Contains(HasSubstr("some/cov seed 2: result.json has the status \"perfect\"")));
  EXPECT_THAT(records.notes, Contains(HasSubstr("some/none seed 1: result.json is that of some/none seed 2")));
}

TEST_F(ReportRecordsTest, VersionsNotKnown) {
  Write("some/cov/1/result.json",
        absl::StrReplaceAll(Read("some/cov/1/result.json"), {{"{\n", "{\n  \"version\": 7,\n"}}));
  Write("some/cov/2/epochs.jsonl", WithChecksum("{\"version\":9,\"epoch\":0}") + "\n");
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, Contains(HasSubstr("some/cov seed 1: result.json is of version 7, which this program")));
  EXPECT_THAT(records.notes, Contains(HasSubstr("some/cov seed 2: epochs.jsonl line 1 is of version 9")));
}

TEST_F(ReportRecordsTest, RunsOfAnotherConfigAreLeftOut) {
  Write("some/cov/2/config.textproto", "network { [type.googleapis.com/prunelab.NobodyLinksThis] { depth: 20 } }");
  EXPECT_THAT(Load().notes,
              Contains(HasSubstr("Left out: some/cov seed 2: another config than the arm's first run has")));
}

// The config of a run with a result counts, whichever run comes first.
TEST_F(ReportRecordsTest, ARunWithoutAConfigIsLeftOutAndNotTheOthers) {
  ASSERT_EQ(std::remove(Path("some/cov/1/config.textproto").c_str()), 0);
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes,
              Contains("Left out: some/cov seed 1: it has no config.textproto, so it is not known what it "
                       "was trained with."));
  EXPECT_EQ(Status(records, "some/cov", 1), "missing");
  EXPECT_EQ(Status(records, "some/cov", 2), "done");
}

TEST_F(ReportRecordsTest, ARunThatFailedWithoutAConfigIsOneThatFailed) {
  Write("some/cov/1/result.json", R"({"arm":"some/cov","seed":1,"status":"failed","epochs":0,"run_id":""})");
  for (const char* name : {"config.textproto", "epochs.jsonl"}) {
    ASSERT_EQ(std::remove(Path(absl::StrCat("some/cov/1/", name)).c_str()), 0);
  }
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, Not(Contains(HasSubstr("eft out"))));
  EXPECT_EQ(Status(records, "some/cov", 1), "failed");
  EXPECT_EQ(Status(records, "some/cov", 2), "done");
}

TEST_F(ReportRecordsTest, AFinishedRunInAnyFolderStandsForOneThatFailed) {
  const std::string second = absl::StrCat(root_, "_second");
  fs::remove_all(second);
  fs::copy(root_, second, fs::copy_options::recursive);
  Write("some/cov/1/result.json", R"({"arm":"some/cov","seed":1,"status":"failed","epochs":0,"run_id":""})");
  for (const auto& folders : {std::vector<std::string>{root_, second}, std::vector<std::string>{second, root_}}) {
    const ReportRecords records = ReadResults(folders).value();
    EXPECT_EQ(Status(records, "some/cov", 1), "done");
    EXPECT_THAT(records.notes,
                Contains(absl::StrCat("Left out: some/cov seed 1 in ", root_,
                                      "/some/cov/1: it failed there, and is done in ", second, "/some/cov/1.")));
    EXPECT_THAT(records.notes, Not(Contains(HasSubstr("Incomplete"))));
  }
}

// Beyond 2^24 a float could not represent them, beyond 2^53 a double.
TEST_F(ReportRecordsTest, WholeNumbersOfAnySizeAreHeldAgainstTheResultExactly) {
  for (const int64_t size : {int64_t{1} << 24, int64_t{1} << 40, (int64_t{1} << 53) + 1, int64_t{1} << 60}) {
    std::string lines;
    RunResult result = MissingResult("some/cov", 1);
    result.status = "done";
    result.epochs = 3;
    result.measures.set_returned_filters(0);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      EpochRecord record;
      record.epoch = epoch;
      record.measures.set_returned_filters(size + epoch);
      record.measures.set_live_macs(size + 3);
      result.measures.set_returned_filters(result.measures.returned_filters() + record.measures.returned_filters());
      absl::StrAppend(&lines, EpochLine(record), "\n");
    }
    result.measures.set_live_macs(size + 3);
    result.measures.set_live_parameters(0);
    result.measures.set_filter_sparsity(0);
    result.measures.set_weight_sparsity(0);
    result.measures.set_paper_sparsity(0);
    Write("some/cov/1/epochs.jsonl", lines);
    Write("some/cov/1/result.json", ResultJson(result));
    EXPECT_THAT(Load().notes, IsEmpty()) << size;
    ASSERT_TRUE(WriteReport({root_}, Path("out")).ok());
    EXPECT_THAT(Read("out/results.csv"), HasSubstr(absl::StrCat(",", 3 * size + 3, ",")));
    EXPECT_THAT(Read("out/report.html"), HasSubstr(absl::StrCat("\"", 3 * size + 3, "\"")));
    for (const char* changed : {"live_macs", "returned_filters"}) {
      const Measure& measure = *FindMeasure(changed);
      RunResult other = result;
      measure.SetWhole(*measure.Whole(result.measures) + 1, &other.measures);
      Write("some/cov/1/result.json", ResultJson(other));
      EXPECT_THAT(Load().notes, Contains(HasSubstr(absl::StrCat("epochs.jsonl have another ", changed)))) << size;
    }
  }
}

TEST_F(ReportRecordsTest, SeedsOfAnySizeAreExact) {
  const int64_t first = std::numeric_limits<int64_t>::max() - 1000000;
  Write("ablation.textproto",
        absl::StrReplaceAll(kAblation, {{"first: 1 count", absl::StrCat("first: ", first, " count")}}));
  for (const char* arm : {"none/none", "some/none", "some/cov"}) {
    ASSERT_GT(fs::remove_all(Path(arm)), 0u);
    for (const int64_t seed : {first, first + 1}) {
      AddRun(arm, 1);
      const std::string text = Read(absl::StrCat(arm, "/1/result.json"));
      ASSERT_EQ(std::rename(Path(absl::StrCat(arm, "/1")).c_str(), Path(absl::StrCat(arm, "/", seed)).c_str()), 0);
      Write(absl::StrCat(arm, "/", seed, "/result.json"),
            absl::StrReplaceAll(text, {{"\"seed\": 1", absl::StrCat("\"seed\": ", seed)}}));
    }
  }
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, IsEmpty()) << absl::StrJoin(records.notes, "\n");
  EXPECT_EQ(records.runs.size(), 6u);
  ASSERT_TRUE(WriteReport({root_}, Path("out")).ok());
  for (const char* name : {"out/results.csv", "out/report.html"}) {
    for (const int64_t seed : {first, first + 1}) EXPECT_THAT(Read(name), HasSubstr(absl::StrCat(seed)));
  }
  EXPECT_THAT(Read("out/comparisons.json"), HasSubstr("\"n_pairs\": 2"));
}

TEST_F(ReportRecordsTest, MixedMachinesAreSaid) {
  Write("some/cov/2/provenance.json", "{\"cpu_capability\": \"AVX512\", \"threads\": 1}");
  EXPECT_THAT(Load().notes,
              ElementsAre("Pairs of runs differ in cpu_capability (AVX2, AVX512) in: some/cov vs. some/none."));
}

TEST_F(ReportRecordsTest, MixedPrecisionsAreSaid) {
  // Records from before there was a choice say nothing: they are float32.
  Write("some/cov/1/provenance.json", "{\"cpu_capability\": \"AVX2\", \"threads\": 1, \"precision\": \"float32\"}");
  EXPECT_THAT(Load().notes, IsEmpty());
  Write("some/cov/2/provenance.json", "{\"cpu_capability\": \"AVX2\", \"threads\": 1, \"precision\": \"bfloat16\"}");
  EXPECT_THAT(Load().notes,
              ElementsAre("Pairs of runs differ in precision (bfloat16, float32) in: some/cov vs. some/none."));
}

TEST_F(ReportRecordsTest, SeveralFolders) {
  const std::string second = absl::StrCat(root_, "_second");
  fs::remove_all(second);
  fs::copy(root_, second, fs::copy_options::recursive);
  fs::remove_all(second + "/some/cov/1");
  fs::remove_all(Path("some/cov/2"));
  const ReportRecords records = ReadResults({root_, second}).value();
  EXPECT_EQ(Status(records, "some/cov", 1), "done");
  EXPECT_EQ(Status(records, "some/cov", 2), "done");
  EXPECT_THAT(records.notes, Contains(HasSubstr("the same run is in")));
  EXPECT_THAT(records.notes, Not(Contains(HasSubstr("Incomplete"))));
}

TEST_F(ReportRecordsTest, NoAblationFile) {
  ASSERT_TRUE(fs::remove(Path("ablation.textproto")));
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, Contains(HasSubstr("has no ablation.textproto: its comparisons are not known")));
  EXPECT_EQ(records.runs.size(), 6u);
}

TEST_F(ReportRecordsTest, AnAblationFileThatDoesNotParse) {
  Write("ablation.textproto", "name: \"x\"\nseeds {");
  EXPECT_THAT(Load().notes, Contains(HasSubstr("its comparisons are not judged")));
}

TEST_F(ReportRecordsTest, ArmsThatTheAblationDoesNotKnow) {
  AddRun("extra/arm", 1);
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, Contains("Not in ablation.textproto, but with runs: extra/arm."));
  EXPECT_EQ(records.arms.back().name, "extra/arm");
}

TEST_F(ReportRecordsTest, NoEpochs) {
  ASSERT_TRUE(fs::remove(Path("some/cov/1/epochs.jsonl")));
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, ElementsAre(HasSubstr("some/cov seed 1 has no epochs.jsonl")));
  EXPECT_EQ(Status(records, "some/cov", 1), "done");
}

TEST_F(ReportRecordsTest, TheReportsFiles) {
  const absl::StatusOr<std::string> text = WriteReport({root_}, Path("out"));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("some/cov vs. some/none"));
  for (const char* name : {"results.csv", "comparisons.json", "summary.md", "summary.tex", "report.html"}) {
    EXPECT_TRUE(PathExists(Path(absl::StrCat("out/", name)))) << name;
  }
  EXPECT_THAT(Read("out/results.csv"), HasSubstr("\nsome/cov,2,done,3,0.75,0.99,0.5,,0.75,0.0,"));
}

// Text of a config is text in the page, whatever it looks like.
TEST_F(ReportRecordsTest, HtmlInNamesIsText) {
  const std::string evil = "<img src=x onerror=alert(1)>@DATA@</script>";
  Write("ablation.textproto",
        absl::StrReplaceAll(kAblation, {{"\"made_up\"", absl::StrCat("\"", evil, "\" description: \"", evil, "\"")},
                                        {"\"some\"", "\"<b>some\""},
                                        {"some/", "<b>some/"}}));
  AddRun("<b>some/none", 1);
  AddRun("<b>some/cov", 1);
  ASSERT_TRUE(WriteReport({root_}, Path("out")).ok());
  const std::string page = Read("out/report.html");
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, Not(HasSubstr("<b>some")));
  EXPECT_THAT(page, HasSubstr("<h1>&lt;img src=x onerror=alert(1)&gt;@DATA@&lt;/script&gt;</h1>"));
}

TEST_F(ReportRecordsTest, AnAblationOfMoreArmsOrSeedsThanAnyIsNotJudged) {
  std::string factors, levels;
  for (int i = 0; i < 40; ++i) absl::StrAppend(&levels, " level { name: \"", i, "\" }");
  for (int i = 0; i < 12; ++i) absl::StrAppend(&factors, "factor { name: \"", i, "\"", levels, " }\n");
  for (const auto& [text, problem] : {
           std::make_pair(factors, "its factors make more than 10000 arms"),
           std::make_pair(std::string("seeds { first: 9223372036854775807 count: 2 }"), "its seeds.first is"),
           std::make_pair(std::string("seeds { count: 9223372036854775807 }"), "its seeds.count is"),
           std::make_pair(std::string("seeds { count: -1 }"), "its seeds.count is -1"),
       }) {
    Write("ablation.textproto", text);
    const ReportRecords records = Load();
    EXPECT_THAT(records.notes, Contains(HasSubstr(absl::StrCat("ablation.textproto, ", problem))));
    EXPECT_EQ(records.runs.size(), 6u);
  }
}

// The parser also descends into what it does not know.
TEST_F(ReportRecordsTest, MessagesNestedDeeperThanAStackAreNotFollowed) {
  std::string text;
  for (int i = 0; i < 1 << 20; ++i) text += "a{";
  Write("ablation.textproto", text);
  EXPECT_THAT(Load().notes, Contains(HasSubstr("ablation.textproto, line 1: ")));
}

// Two of them, each followed into the other, would be visited 2^40 times.
TEST_F(ReportRecordsTest, LinksToAFolderAboveAreNotFollowed) {
  for (const char* name : {"up", "again"}) {
    ASSERT_EQ(symlink(root_.c_str(), Path(absl::StrCat("some/", name)).c_str()), 0);
  }
  const ReportRecords records = Load();
  EXPECT_THAT(records.notes, IsEmpty()) << absl::StrJoin(records.notes, "\n");
  EXPECT_EQ(records.runs.size(), 6u);
}

TEST_F(ReportRecordsTest, NumbersBeyondTheirTypesAreShownAsTheLargest) {
  const std::string line = WithChecksum(R"({"epoch":0,"test_top1":1e300,"live_filters":{"conv1":1e300,"b":-1e300}})");
  Write("some/none/1/epochs.jsonl", line + "\n");
  Write("some/none/1/result.json",
        R"({"arm":"some/none","seed":1,"status":"done","epochs":1,"run_id":"","live_macs":1e300,
               "test_top1":1e300,"test_top1_best":1e300})");
  const absl::StatusOr<std::string> report = WriteReport({root_}, Path("out"));
  ASSERT_TRUE(report.ok()) << report.status();
  const ReportRecords records = Load();
  const auto run = std::find_if(records.runs.begin(), records.runs.end(),
                                [](const RunRecords& r) { return r.result.arm == "some/none" && r.result.seed == 1; });
  EXPECT_THAT(run->epochs.live_filters, ElementsAre(2147483647, -2147483647));
}

}  // namespace
}  // namespace prunelab
