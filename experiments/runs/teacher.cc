#include "experiments/runs/teacher.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "experiments/runs/initial_weights.h"
#include "ml/base/status_macros.h"
#include "ml/execution/checkpoint.h"

namespace prunelab {

absl::StatusOr<RunTeacher> ReadTeacher(const Training& training, at::Device device) {
  RunTeacher teacher;
  if (!training.has_teacher()) return teacher;
  const std::string& path = training.teacher().checkpoint();
  PRUNELAB_ASSIGN_OR_RETURN(WeightsFile weights, ReadWeightsFile(path));
  if (weights.file.metadata.count(kNetworkKey) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": carries no network; a teacher needs a checkpoint that does, such as a run's last.safetensors"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo network, StoredNetwork(weights.file.metadata, path));
  PRUNELAB_ASSIGN_OR_RETURN(teacher.model, ModelOf(std::move(weights.file), path, std::move(network), {}, at::kFloat,
                                                   device, &weights.notes));
  teacher.digest = std::move(weights.digest);
  teacher.notes = std::move(weights.notes);
  return teacher;
}

}  // namespace prunelab
