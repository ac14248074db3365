#include "ml/data/testing/cifar10_fake.h"

#include <fstream>

#include "ml/base/check.h"
#include "ml/base/files.h"

namespace prunelab {

int FakeCifar10Label(int file, int record) { return (record + file) % 10; }

uint8_t FakeCifar10Pixel(int file, int record, int pixel) {
  return static_cast<uint8_t>(file * 31 + record * 7 + record / 256 + pixel * (1 + record % 5) + pixel / 32 * 3);
}

void WriteFakeCifar10(const std::string& folder) {
  PRUNELAB_CHECK(CreateFolders(folder).ok()) << folder;
  for (int file = 0; file < 6; ++file) {
    std::string bytes;
    bytes.reserve(10000 * 3073);
    for (int record = 0; record < 10000; ++record) {
      bytes.push_back(static_cast<char>(FakeCifar10Label(file, record)));
      for (int pixel = 0; pixel < 3072; ++pixel) {
        bytes.push_back(static_cast<char>(FakeCifar10Pixel(file, record, pixel)));
      }
    }
    const std::string name = file == 5 ? "test_batch.bin" : "data_batch_" + std::to_string(file + 1) + ".bin";
    std::ofstream out(JoinPath(folder, name), std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    PRUNELAB_CHECK(out.good()) << "cannot write " << name;
  }
}

}  // namespace prunelab
