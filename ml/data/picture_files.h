// Encoded pictures with labels, wherever they lie: files in folders, or parts of archives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prunelab {

class PictureFiles {
 public:
  virtual ~PictureFiles() = default;

  // Where they lie, for messages.
  virtual const std::string& place() const = 0;
  // Where they lie, the same for every process and from wherever it was started.
  virtual std::string AbsolutePlace() const = 0;
  virtual const std::vector<std::string>& classes() const = 0;  // their names
  virtual const std::vector<int64_t>& labels() const = 0;       // one per picture: an index into classes()
  int64_t size() const { return static_cast<int64_t>(labels().size()); }

  // The picture's name as a person would look it up, and its name within place().
  virtual std::string Name(int64_t picture) const = 0;
  virtual std::string ShortName(int64_t picture) const = 0;

  // Its bytes; any thread may call it. DataLoss if there is no picture to be had, whenever one looks: no such file, or
  // too large a one. After Stamp() a file that is not the same any more is an error (Aborted).
  virtual absl::StatusOr<std::string> Read(int64_t picture) const = 0;

  // 64 hexadecimal digits that change if a file's name, label, size or time of change does. Opens no picture.
  virtual absl::StatusOr<std::string> Stamp() = 0;
};

}  // namespace prunelab
