// The records in the repository are read and written again by this program and must be equal byte for byte, so that a
// change in how they are written is noticed.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "experiments/records/records.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

namespace fs = std::filesystem;

// Paths of the files below results/ that have this name.
std::vector<std::string> Committed(const std::string& name) {
  std::vector<std::string> paths;
  for (const auto& entry :
       fs::recursive_directory_iterator("results", fs::directory_options::follow_directory_symlink)) {
    if (entry.path().filename() == name) paths.push_back(entry.path().string());
  }
  EXPECT_GE(paths.size(), 208u) << name;
  return paths;
}

TEST(ResultsRecordsTest, EveryEpochsLineIsWrittenAgainEqual) {
  size_t lines = 0;
  for (const std::string& path : Committed("epochs.jsonl")) {
    const std::string text = ReadFile(path).value();
    std::string again;
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const absl::StatusOr<EpochRecord> record = ParseEpochLine(line);
      ASSERT_TRUE(record.ok()) << path << ": " << record.status();
      again += EpochLine(*record) + "\n";
      ++lines;
    }
    ASSERT_EQ(again, text) << path;
  }
  EXPECT_GE(lines, 208u * 20u);
}

TEST(ResultsRecordsTest, EveryResultIsWrittenAgainEqual) {
  for (const std::string& path : Committed("result.json")) {
    const std::string text = ReadFile(path).value();
    const absl::StatusOr<RunResult> result = ParseResult(text, path);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(ResultJson(*result), text) << path;
  }
}

}  // namespace
}  // namespace prunelab
