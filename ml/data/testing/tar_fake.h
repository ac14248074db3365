// Small tar archives for tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace prunelab {

// An archive (ustar) of files with names of at most 99 bytes, in this order.
std::string MakeTar(const std::vector<std::pair<std::string, std::string>>& files);

}  // namespace prunelab
