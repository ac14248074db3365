// TarShards: pictures in tar archives (tar_shards.proto).
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/tar_shards.pb.h"

namespace prunelab {

TypedDatasetFactory<TarShards> CreateTarShards();

// "a-{08..11}.tar" is a-08.tar, a-09.tar, a-10.tar, a-11.tar; several ranges give all combinations, the last one
// changing fastest. Errors: a range that runs backwards, or gives more than a million names; a brace without its
// partner.
absl::StatusOr<std::vector<std::string>> ExpandBraces(const std::string& pattern);

}  // namespace prunelab
