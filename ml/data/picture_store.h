// Pictures as images for a network: decoded once and kept in memory, decoded once into a cache on disk, or decoded
// whenever they are wanted. The images, and so the runs that are trained on them, are the same bit for bit.
//
// What is known of pictures that are not kept in memory (which cannot be decoded, a digest of all pixels, the sizes of
// whole pictures) takes decoding all of them once. It is kept in an index on disk, which holds while the files' names,
// labels, sizes and times of change stay what they are; else it is made again, and the cache with it. Several processes
// share both: one makes them, the others wait.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/data/dataset.h"
#include "ml/data/picture_files.h"

namespace prunelab {

// What becomes of a picture.
struct PictureForm {
  int64_t image_size = 0;  // pixels, height and width of an image
  int64_t resize = 0;      // pixels of the shorter side before the middle is cut out
  bool grey = false;
  bool exif_orientation = false;
  bool bilinear = false;         // Pillow's scaling instead of means over areas
  bool scaled_decoding = false;  // of JPEGs, where a smaller size is wanted (picture.h)
  // Whole pictures are kept, for random crops, and cut only where an image is wanted as for an evaluation. Their
  // shorter side is scaled down to so many pixels, if it has more; 0: as in the file.
  bool whole = false;
  int64_t whole_shorter_side = 0;

  int64_t channels() const { return grey ? 1 : 3; }
  int64_t image_bytes() const { return channels() * image_size * image_size; }
};

enum class PictureCache { kMemory, kDisk, kNone };

struct PictureStorage {
  PictureCache cache = PictureCache::kMemory;
  int64_t max_bytes = 0;  // of memory, for kept pictures and for batches that are read ahead
  std::string folder;     // of indexes and caches
};

// What the user should know about a picture that was decoded.
struct PictureKind {
  bool not_turned = false;  // although its EXIF data say that it should be
  bool exif_damaged = false;
  bool deep_grey = false;
};

struct StoredPictures {
  LabelledImages data;             // of the pictures that can be decoded, in order
  std::vector<int64_t> pictures;   // which they are
  std::vector<std::string> bad;    // what is wrong with each of the others
  std::vector<PictureKind> kinds;  // of all pictures
};

// Errors: the file system's; FailedPrecondition with PictureCache::kMemory and whole pictures that do not fit.
absl::StatusOr<StoredPictures> StorePictures(std::shared_ptr<PictureFiles> files, const PictureForm& form,
                                             const PictureStorage& storage);

// An eighth of the memory that this process may use, in bytes.
int64_t EighthOfMemory();

}  // namespace prunelab
