#include "ml/training/augmentation.h"

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"

namespace prunelab {

Augmentation AugmentationOf(const Training& config) {
  Augmentation augmentation;
  augmentation.random_crop_padding = config.random_crop_padding();
  augmentation.horizontal_flip = config.horizontal_flip();
  if (config.has_random_resized_crop()) {
    const Training::RandomResizedCrop& crop = config.random_resized_crop();
    augmentation.resized_crop =
        RandomResizedCrop{crop.least_area(), crop.most_area(), crop.least_ratio(), crop.most_ratio()};
  }
  const Training::ColorJitter& jitter = config.color_jitter();
  augmentation.color_jitter = {jitter.brightness(), jitter.contrast(), jitter.saturation(), jitter.hue()};
  return augmentation;
}

absl::Status CheckAugmentation(const Training& config, const LabelledImages& data) {
  const Augmentation augmentation = AugmentationOf(config);
  if (augmentation.resized_crop) {
    if (!HasBytes(data)) {
      return FieldError("random_resized_crop",
                        "scales images of bytes, and this data set's are floats; leave it out, or store them as uint8");
    }
    if (data.cut) {
      return FieldError("random_resized_crop",
                        "takes parts of whole pictures, and the data set gives training images that are cut from them "
                        "already; set whole_training_pictures: true there");
    }
  }
  if (!augmentation.color_jitter.changes()) return absl::OkStatus();
  if (HasBytes(data) && ShapeOf(data)[0] == 3) return absl::OkStatus();
  return FieldError("color_jitter", absl::StrCat("changes images of three channels of bytes, and this data set's have ",
                                                 ShapeOf(data)[0], ShapeOf(data)[0] == 1 ? " channel" : " channels",
                                                 HasBytes(data) ? " of bytes" : " of floats", "; leave it out"));
}

}  // namespace prunelab
