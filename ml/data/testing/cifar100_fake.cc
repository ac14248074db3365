#include "ml/data/testing/cifar100_fake.h"

#include <fstream>

#include "ml/base/check.h"
#include "ml/base/files.h"

namespace prunelab {

int FakeCifar100Label(bool test, int record) { return (record * 7 + (test ? 3 : 0)) % 100; }

uint8_t FakeCifar100Pixel(bool test, int record, int pixel) {
  return static_cast<uint8_t>((test ? 101 : 0) + record * 3 + record / 256 + pixel * (1 + record % 5) + pixel / 32);
}

void WriteFakeCifar100(const std::string& folder) {
  PRUNELAB_CHECK(CreateFolders(folder).ok()) << folder;
  for (const bool test : {false, true}) {
    const int records = test ? 10000 : 50000;
    std::string bytes;
    bytes.reserve(records * size_t{3074});
    for (int record = 0; record < records; ++record) {
      const int label = FakeCifar100Label(test, record);
      bytes.push_back(static_cast<char>(label / 5));
      bytes.push_back(static_cast<char>(label));
      for (int pixel = 0; pixel < 3072; ++pixel) {
        bytes.push_back(static_cast<char>(FakeCifar100Pixel(test, record, pixel)));
      }
    }
    std::ofstream out(JoinPath(folder, test ? "test.bin" : "train.bin"), std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    PRUNELAB_CHECK(out.good()) << "cannot write into " << folder;
  }
}

}  // namespace prunelab
