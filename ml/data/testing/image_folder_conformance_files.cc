// The pictures that image_folder's conformance test reads.

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/files.h"
#include "ml/data/testing/picture_fake.h"

namespace prunelab {
namespace {

class Files : public testing::Environment {
 public:
  void SetUp() override {
    for (const char* part : {"train", "val"}) {
      for (int label = 0; label < 3; ++label) {
        const std::string folder = absl::StrCat(testing::TempDir(), "/pictures/", part, "/class_", label);
        PRUNELAB_CHECK(CreateFolders(folder).ok());
        for (int i = 0; i < 4; ++i) {
          const std::vector<uint8_t> pixels =
              OneColor(9 + i, 12 - i, static_cast<uint8_t>(80 * label), static_cast<uint8_t>(60 * i), 200);
          const bool jpeg = i % 2 == 0;
          const std::string bytes = jpeg ? EncodeJpeg(9 + i, 12 - i, 3, pixels) : EncodePng(9 + i, 12 - i, 3, pixels);
          PRUNELAB_CHECK(WriteFileAtomically(absl::StrCat(folder, "/", i, jpeg ? ".jpg" : ".png"), bytes).ok());
        }
      }
    }
  }
};

const testing::Environment* const files = testing::AddGlobalTestEnvironment(new Files);

}  // namespace
}  // namespace prunelab
