// The archives that tar_shards' conformance test reads.

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/files.h"
#include "ml/data/testing/picture_fake.h"
#include "ml/data/testing/tar_fake.h"

namespace prunelab {
namespace {

class Files : public testing::Environment {
 public:
  void SetUp() override {
    const std::string folder = absl::StrCat(testing::TempDir(), "/shards");
    PRUNELAB_CHECK(CreateFolders(folder).ok());
    for (const char* name : {"train-0", "train-1", "test"}) {
      std::vector<std::pair<std::string, std::string>> files;
      for (int i = 0; i < 9; ++i) {
        const std::vector<uint8_t> pixels =
            OneColor(9 + i % 4, 12 - i % 4, static_cast<uint8_t>(80 * (i % 3)), static_cast<uint8_t>(28 * i), 200);
        const bool jpeg = i % 2 == 0;
        files.emplace_back(absl::StrCat(i, jpeg ? ".jpg" : ".png"), jpeg ? EncodeJpeg(9 + i % 4, 12 - i % 4, 3, pixels)
                                                                         : EncodePng(9 + i % 4, 12 - i % 4, 3, pixels));
        files.emplace_back(absl::StrCat(i, ".cls"), absl::StrCat(i % 3));
      }
      PRUNELAB_CHECK(WriteFileAtomically(absl::StrCat(folder, "/", name, ".tar"), MakeTar(files)).ok());
    }
  }
};

const testing::Environment* const files = testing::AddGlobalTestEnvironment(new Files);

}  // namespace
}  // namespace prunelab
