// The sizes that every family of image classifiers needs: classes, channels and pixels. They come from its parameters,
// else from the data set, else from the family's own defaults.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, {10, 3, 32}));
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/models/model_builder.h"

namespace prunelab {

struct ImageSizes {
  int64_t classes = 0, channels = 0, height = 0, width = 0;
};

// Sizes that the parameters set; no value if unset.
struct ChosenSizes {
  std::optional<int64_t> classes, channels, image_size;
};

// The sizes if neither the parameters nor the data set give any.
struct FamilyDefaults {
  int64_t classes = 10, channels = 3, image_size = 32;
};

// A field error unless `value` is from 1 to 65,536.
absl::Status CheckNetworkSize(absl::string_view field, int64_t value);

// Field errors name "classes", "input_channels" and "image_size".
absl::StatusOr<ImageSizes> ChooseImageSizes(const ChosenSizes& chosen, const ImageDefaults& data,
                                            const FamilyDefaults& family);

// The same for a message that has the optional fields `classes`, `input_channels` and `image_size`.
template <typename Parameters>
absl::StatusOr<ImageSizes> ChooseImageSizes(const Parameters& parameters, const ImageDefaults& data,
                                            const FamilyDefaults& family) {
  ChosenSizes chosen;
  if (parameters.has_classes()) chosen.classes = parameters.classes();
  if (parameters.has_input_channels()) chosen.channels = parameters.input_channels();
  if (parameters.has_image_size()) chosen.image_size = parameters.image_size();
  return ChooseImageSizes(chosen, data, family);
}

}  // namespace prunelab
