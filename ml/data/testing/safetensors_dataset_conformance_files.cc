// The file that safetensors_dataset's conformance test reads.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/check.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

class Files : public testing::Environment {
 public:
  void SetUp() override {
    Safetensors file;
    file.tensors["train_images"] = (at::arange(40 * 2 * 5 * 6) * 37 % 251).to(at::kByte).view({40, 2, 5, 6});
    file.tensors["train_labels"] = at::arange(40) % 4;
    file.tensors["test_images"] = (at::arange(10 * 2 * 5 * 6) * 41 % 249).to(at::kByte).view({10, 2, 5, 6});
    file.tensors["test_labels"] = at::arange(10) % 4;
    PRUNELAB_CHECK(WriteSafetensors(testing::TempDir() + "/own.safetensors", file).ok());
  }
};

const testing::Environment* const files = testing::AddGlobalTestEnvironment(new Files);

}  // namespace
}  // namespace prunelab
