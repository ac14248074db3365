#include "ml/models/testing/built_network.h"

#include "gtest/gtest.h"

namespace prunelab {

NetworkInfo BuiltNetwork(const absl::StatusOr<Network>& network) {
  EXPECT_TRUE(network.ok()) << network.status();
  const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(*network);
  EXPECT_TRUE(info.ok()) << info.status();
  return *info;
}

}  // namespace prunelab
