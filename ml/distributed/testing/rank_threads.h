// Ranks that are threads of one process, for tests.
#pragma once

#include <functional>

#include "ml/distributed/ranks.h"

namespace prunelab {

// Calls `work` on each of `count` ranks, which meet before it and leave after it.
void OnRanks(int64_t count, const std::function<void(Ranks&)>& work);

}  // namespace prunelab
