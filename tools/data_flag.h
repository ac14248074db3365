// --dataset, as the tools that compress a network read it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/data/dataset.h"
#include "ml/network/network.h"

namespace prunelab {

// The path that the parameters of --dataset contain, so that no output overwrites it; "" if there is none. Errors:
// those of ParsePlugin. `text` may be empty.
absl::StatusOr<std::string> PathOfDataset(const std::string& text);

// The data set that --dataset names, or none if `text` is empty. Its notes go to standard error.
absl::StatusOr<std::optional<Dataset>> OpenDataFlag(const std::string& text);

// An error that names --dataset unless the network takes the data's images and tells its classes apart.
absl::Status CheckDataFit(const NetworkInfo& network, const DatasetInfo& data);

}  // namespace prunelab
