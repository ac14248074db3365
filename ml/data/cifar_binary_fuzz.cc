// Reads arbitrary bytes as CIFAR files. The first byte chooses one or two label bytes; the rest is split into a
// training and a test file of a CIFAR with few images.
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "ml/base/check.h"
#include "ml/data/cifar_binary.h"

namespace {

const std::string& Folder() {
  static const std::string* folder = [] {
    char name[] = "/tmp/cifar_fuzz_XXXXXX";
    PRUNELAB_CHECK(mkdtemp(name) != nullptr);
    return new std::string(name);
  }();
  return *folder;
}

void Write(const char* name, const std::string& bytes) {
  std::ofstream(Folder() + "/" + name, std::ios::binary) << bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  prunelab::CifarFormat format;
  format.name = "CIFAR";
  format.stream = "fuzz";
  format.train_files = {"train.bin"};
  format.test_file = "test.bin";
  format.labels = data[0] % 2 == 0 ? std::vector<prunelab::CifarLabel>{{"label", 2}}
                                   : std::vector<prunelab::CifarLabel>{{"coarse label", 2}, {"fine label", 4}};
  format.label = data[0] % 2;
  format.train_images = 4;
  format.test_images = 4;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Write("train.bin", bytes.substr(0, bytes.size() / 2));
  Write("test.bin", bytes.substr(bytes.size() / 2));
  prunelab::CifarOptions options;
  options.path = Folder();
  options.image_size = 16;
  options.mean = options.stddev = {0.5, 0.5, 0.5};
  const absl::StatusOr<prunelab::Dataset> dataset = prunelab::OpenCifar(format, options);
  if (dataset.ok()) PRUNELAB_CHECK(dataset->train.size() == 4 && dataset->test.size() == 4);
  return 0;
}
