// What data sets of pictures have in common: the parameters that say how pictures become images, and what is told about
// pictures that cannot be used or may not be what the user expects.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/base/files.h"
#include "ml/data/dataset.h"
#include "ml/data/picture_files.h"
#include "ml/data/picture_store.h"

namespace prunelab {

// The fields that ImageFolder and TarShards share; see image_folder.proto.
struct PictureParameters {
  PictureForm form;  // of test images; `whole_training` is for training images
  bool whole_training = false;
  bool has_whole_shorter_side = false;
  bool skip_bad = false;
  std::optional<PictureCache> cache;  // no value: AUTO
  std::string cache_folder;
  bool has_max_memory = false;
  int64_t max_memory_mb = 0;
  std::vector<double> mean, stddev;

  int64_t max_bytes() const { return has_max_memory ? max_memory_mb * 1000000 : EighthOfMemory(); }
};

template <typename Message>
PictureParameters PictureParametersOf(const Message& message) {
  PictureParameters parameters;
  parameters.form.image_size = message.image_size();
  parameters.form.resize = message.has_resize() ? message.resize() : message.image_size();
  parameters.form.grey = message.grey();
  parameters.form.exif_orientation = message.exif_orientation();
  parameters.form.bilinear = message.scaling() == Message::BILINEAR;
  parameters.form.scaled_decoding = message.scaled_decoding();
  parameters.form.whole_shorter_side = message.whole_shorter_side();
  parameters.has_whole_shorter_side = message.has_whole_shorter_side();
  parameters.whole_training = message.whole_training_pictures();
  parameters.skip_bad = message.on_bad_image() == Message::SKIP;
  if (message.cache() == Message::MEMORY) parameters.cache = PictureCache::kMemory;
  if (message.cache() == Message::DISK) parameters.cache = PictureCache::kDisk;
  if (message.cache() == Message::NONE) parameters.cache = PictureCache::kNone;
  parameters.cache_folder = UserPath(message.cache_folder());
  parameters.has_max_memory = message.has_max_memory_mb();
  parameters.max_memory_mb = message.max_memory_mb();
  parameters.mean = {message.mean().begin(), message.mean().end()};
  parameters.stddev = {message.stddev().begin(), message.stddev().end()};
  return parameters;
}

// Whether the parameters are in their ranges; field errors.
absl::Status CheckPictureParameters(const PictureParameters& parameters);

// Sizes, without opening a picture. Field errors: images that do not fit into the memory that they are to be kept in.
absl::StatusOr<DatasetInfo> DescribePictures(const PictureParameters& parameters, int64_t classes, int64_t train_images,
                                             int64_t test_images);

// Decodes everything once, or finds what is known from an earlier time. The fields are those that name the parts'
// places, for errors about pictures. Both parts have the same classes.
absl::StatusOr<Dataset> OpenPictures(const PictureParameters& parameters, const char* train_field,
                                     const char* test_field, std::shared_ptr<PictureFiles> train,
                                     std::shared_ptr<PictureFiles> test, std::vector<std::string> notes);

}  // namespace prunelab
