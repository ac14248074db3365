#include "experiments/records/results_folder.h"

#include <gtest/gtest.h>

#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

class ResultsFolderTest : public testing::Test {
 protected:
  void SetUp() override { root_ = FreshFolder("results_folder"); }
  void Write(const std::string& folder, const std::string& name) const {
    ASSERT_TRUE(CreateFolders(JoinPath(root_, folder)).ok());
    ASSERT_TRUE(WriteFileAtomically(JoinPath(JoinPath(root_, folder), name), "{}").ok());
  }
  std::string Plan() const { return ReadFile(JoinPath(root_, "planned.textproto")).value_or(""); }
  std::string root_;
};

TEST_F(ResultsFolderTest, RunsAreFoldersNamedBySeedsThatHoldRecords) {
  Write("a/b/3", "epochs.jsonl");
  Write("a/b/03", "epochs.jsonl");  // not how a seed is written
  Write("a/b/4", "notes.txt");      // no records
  Write("c/1", "result.json");
  Write("c/1/further", "result.json");  // belongs to its run
  Write("5", "result.json");            // of no arm
  const std::vector<FoundRun> found = FindRuns(root_);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].arm, "a/b");
  EXPECT_EQ(found[0].seed, 3);
  EXPECT_EQ(found[0].folder, JoinPath(root_, "a/b/3"));
  EXPECT_EQ(found[1].arm, "c");
}

TEST_F(ResultsFolderTest, ThePlanIsKeptFromTheFirstResultOn) {
  ASSERT_TRUE(KeepPlan(root_, "name: 'first'").ok());
  ASSERT_TRUE(KeepPlan(root_, "name: 'second'").ok());
  EXPECT_EQ(Plan(), "name: 'second'");
  Write("a/1", "result.json");
  ASSERT_TRUE(KeepPlan(root_, "name: 'third'").ok());
  EXPECT_EQ(Plan(), "name: 'second'");
}

}  // namespace
}  // namespace prunelab
