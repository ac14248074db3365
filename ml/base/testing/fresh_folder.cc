#include "ml/base/testing/fresh_folder.h"

#include <filesystem>

#include "gtest/gtest.h"

namespace prunelab {

std::string FreshFolder(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder.string();
}

}  // namespace prunelab
