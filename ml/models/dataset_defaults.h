#pragma once

#include "ml/data/dataset.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// What a network's builder takes over from a data set.
inline ImageDefaults DefaultsOf(const DatasetInfo& info) {
  return {info.classes, info.channels, info.height, info.width};
}

}  // namespace prunelab
