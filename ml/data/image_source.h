// Images that are read when they are wanted, instead of being kept in memory as a tensor: decoded from files, or read
// from a cache on disk. Any thread may read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/data/picture_transforms.h"

namespace prunelab {

// A whole picture, of any size, and what keeps its pixels in memory.
struct HeldPicture {
  PixelView view;
  std::shared_ptr<const void> owner;
};

class ImageSource {
 public:
  virtual ~ImageSource() = default;

  virtual int64_t size() const = 0;
  virtual std::array<int64_t, 3> shape() const = 0;  // channels, height, width that a network sees

  // Writes image `image` to `out`, uint8 [channels, height, width]. Errors: Aborted if it cannot be read now or is
  // not what it was when the data set was opened, with the file's name.
  virtual absl::Status Read(int64_t image, uint8_t* out) const = 0;

  // Whether ReadWhole gives more than the image that Read writes: the picture from which it is cut.
  virtual bool has_whole_pictures() const = 0;
  virtual absl::StatusOr<HeldPicture> ReadWhole(int64_t image) const = 0;

  // A line about all images, with a digest of their pixels: part of the data's fingerprint. Images cut to the same size
  // have the line of the tensor that they would be.
  virtual std::string DigestLine() const = 0;

  // How many bytes of memory batches that are read ahead may take.
  virtual int64_t bytes_ahead() const = 0;
};

}  // namespace prunelab
