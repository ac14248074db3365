// The flag --dataset of the tools: a data set as text.
//
//   --dataset='[type.googleapis.com/prunelab.Digits] {}'
//
// Errors begin with the flag.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/data/dataset.h"
#include "ml/models/model_builder.h"
#include "ml/network/network.h"

namespace prunelab {

// The path that the data set's parameters contain, or "".
absl::StatusOr<std::string> PathOfDataset(absl::string_view text);

// Its notes go to standard error.
absl::StatusOr<Dataset> OpenDatasetFlag(absl::string_view text);

// Refuses a network that takes other images or has another number of classes than the data, or no logits of classes.
absl::Status CheckDataFit(const NetworkInfo& info, const ImageDefaults& data);

}  // namespace prunelab
