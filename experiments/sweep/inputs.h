// The files that runs are computed from: each data set, file of weights and teacher that arms use is read once.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/config/arms.h"
#include "experiments/runs/initial_weights.h"
#include "experiments/runs/teacher.h"
#include "ml/data/dataset.h"
#include "ml/network/network.h"

namespace prunelab {

class Inputs {
 public:
  // `say` is called once for each note on what was read, e.g. on weights that were skipped.
  explicit Inputs(std::function<void(const std::string&)> say) : say_(std::move(say)) {}

  // The arm with the files of the seed (config/seed_files.h), which lives as long as this; or the arm itself, where no
  // file's name has the seed in it.
  const Arm& ArmFor(const Arm& arm, int64_t seed);

  // What is returned lives as long as this. Errors say where the arm's file is set; they are those of the first arm
  // that has it: what could not be read is not tried again.
  absl::StatusOr<const Dataset*> DatasetOf(const Arm& arm);
  absl::StatusOr<const InitialWeights*> WeightsOf(const Arm& arm);
  absl::StatusOr<const RunTeacher*> TeacherOf(const Arm& arm);  // on the CPU

  // Whether the arm's initial weights, if it has any, are those of the network.
  absl::Status CheckWeightsFit(const Arm& arm, const NetworkInfo& network);
  // Whether the network can learn from the arm's teacher, if it has one.
  absl::Status CheckTeacherFits(const Arm& arm, const NetworkInfo& network);

 private:
  void Say(const std::string& note);

  const std::function<void(const std::string&)> say_;
  std::map<std::string, absl::StatusOr<Dataset>> datasets_;        // by config
  std::map<std::string, absl::StatusOr<InitialWeights>> weights_;  // by path
  std::map<std::string, absl::StatusOr<RunTeacher>> teachers_;     // by path
  std::deque<Arm> arms_of_seeds_;
  std::set<std::string> said_;
};

}  // namespace prunelab
