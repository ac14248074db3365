// The files that cifar100's conformance test reads.

#include <gtest/gtest.h>

#include "ml/data/testing/cifar100_fake.h"

namespace prunelab {
namespace {

class Files : public testing::Environment {
 public:
  void SetUp() override { WriteFakeCifar100(testing::TempDir() + "/fake"); }
};

const testing::Environment* const files = testing::AddGlobalTestEnvironment(new Files);

}  // namespace
}  // namespace prunelab
