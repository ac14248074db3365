// The files that cifar10's conformance test reads.

#include <gtest/gtest.h>

#include "ml/data/testing/cifar10_fake.h"

namespace prunelab {
namespace {

class Files : public testing::Environment {
 public:
  void SetUp() override { WriteFakeCifar10(testing::TempDir() + "/fake"); }
};

const testing::Environment* const files = testing::AddGlobalTestEnvironment(new Files);

}  // namespace
}  // namespace prunelab
