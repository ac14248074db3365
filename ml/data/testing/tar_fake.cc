#include "ml/data/testing/tar_fake.h"

#include <cstdint>
#include <cstdio>

#include "ml/base/check.h"

namespace prunelab {

std::string MakeTar(const std::vector<std::pair<std::string, std::string>>& files) {
  constexpr size_t kBlock = 512;
  std::string tar;
  for (const auto& [name, content] : files) {
    PRUNELAB_CHECK(name.size() < 100) << name;
    std::string header(kBlock, '\0');
    header.replace(0, name.size(), name);
    char size[12];
    std::snprintf(size, sizeof(size), "%011lo", static_cast<unsigned long>(content.size()));
    header.replace(124, 11, size);
    header[156] = '0';
    header.replace(257, 8,
                   std::string("ustar\0"
                               "00",
                               8));
    header.replace(148, 8, "        ");
    uint64_t sum = 0;
    for (const char c : header) sum += static_cast<uint8_t>(c);
    char checksum[8];
    std::snprintf(checksum, sizeof(checksum), "%06lo", static_cast<unsigned long>(sum));
    header.replace(148, 7, std::string(checksum, 7));
    tar += header + content + std::string((kBlock - content.size() % kBlock) % kBlock, '\0');
  }
  return tar + std::string(2 * kBlock, '\0');
}

}  // namespace prunelab
