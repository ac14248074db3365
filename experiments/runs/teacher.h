// The network that a run learns from, where its config names one (training.teacher).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/execution/model.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// No value and "" where there is none.
struct RunTeacher {
  std::optional<Model> model;      // in float32
  std::string digest;              // of its file (initial_weights.h)
  std::vector<std::string> notes;  // what the user should know of how it was read
};

// The field that the errors below are about.
inline constexpr char kTeacherField[] = "training.teacher.checkpoint";

// Errors: the file cannot be read, has no network in it, or other weights than the network's; NotFound if it does not
// exist. Whether the network is one that a training can learn from, the training knows (ml/training/distillation.h).
absl::StatusOr<RunTeacher> ReadTeacher(const Training& training, at::Device device);

}  // namespace prunelab
