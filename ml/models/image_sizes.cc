#include "ml/models/image_sizes.h"

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"

namespace prunelab {

absl::Status CheckNetworkSize(absl::string_view field, int64_t value) {
  constexpr int64_t kLargest = 1 << 16;
  if (value >= 1 && value <= kLargest) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be from 1 to ", kLargest));
}

absl::StatusOr<ImageSizes> ChooseImageSizes(const ChosenSizes& chosen, const ImageDefaults& data,
                                            const FamilyDefaults& family) {
  ImageSizes sizes;
  sizes.classes = chosen.classes.value_or(data.classes.value_or(family.classes));
  sizes.channels = chosen.channels.value_or(data.channels.value_or(family.channels));
  sizes.height = chosen.image_size.value_or(data.height.value_or(family.image_size));
  sizes.width = chosen.image_size.value_or(data.width.value_or(family.image_size));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("classes", sizes.classes));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("input_channels", sizes.channels));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("image_size", sizes.height));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("image_size", sizes.width));
  return sizes;
}

}  // namespace prunelab
