#include "experiments/sweep/inputs.h"

#include <utility>

#include "experiments/config/seed_files.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/training/distillation.h"

namespace prunelab {
namespace {

constexpr char kWeightsField[] = "initial_weights";

}  // namespace

const Arm& Inputs::ArmFor(const Arm& arm, int64_t seed) {
  if (!NamesSeed(arm.config)) return arm;
  Arm& own = arms_of_seeds_.emplace_back(arm);
  own.config = ForSeed(arm.config, seed);
  return own;
}

absl::StatusOr<const Dataset*> Inputs::DatasetOf(const Arm& arm) {
  const std::string key = arm.config.dataset().SerializeAsString();
  auto known = datasets_.find(key);
  if (known == datasets_.end()) {
    absl::StatusOr<Dataset> opened = OpenDataset(arm.config.dataset());
    if (!opened.ok()) opened = InArm(arm, "dataset", InField("dataset", opened.status()));
    known = datasets_.emplace(key, std::move(opened)).first;
    if (known->second.ok()) {
      for (const std::string& note : known->second->notes) Say(note);
    }
  }
  if (!known->second.ok()) return known->second.status();
  return &*known->second;
}

absl::StatusOr<const InitialWeights*> Inputs::WeightsOf(const Arm& arm) {
  const std::string& path = arm.config.initial_weights();
  auto known = weights_.find(path);
  if (known == weights_.end()) {
    absl::StatusOr<InitialWeights> weights = ReadInitialWeights(arm.config);
    if (!weights.ok()) weights = InArm(arm, kWeightsField, InField(kWeightsField, weights.status()));
    known = weights_.emplace(path, std::move(weights)).first;
    if (known->second.ok()) {
      for (const std::string& note : known->second->notes) Say(note);
    }
  }
  if (!known->second.ok()) return known->second.status();
  return &*known->second;
}

absl::StatusOr<const RunTeacher*> Inputs::TeacherOf(const Arm& arm) {
  const std::string& path = arm.config.training().teacher().checkpoint();
  auto known = teachers_.find(path);
  if (known == teachers_.end()) {
    absl::StatusOr<RunTeacher> teacher = ReadTeacher(arm.config.training(), at::kCPU);
    if (!teacher.ok()) teacher = InArm(arm, kTeacherField, InField(kTeacherField, teacher.status()));
    known = teachers_.emplace(path, std::move(teacher)).first;
    if (known->second.ok()) {
      for (const std::string& note : known->second->notes) Say(note);
    }
  }
  if (!known->second.ok()) return known->second.status();
  return &*known->second;
}

absl::Status Inputs::CheckTeacherFits(const Arm& arm, const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(const RunTeacher* const teacher, TeacherOf(arm));
  if (!teacher->model) return absl::OkStatus();
  const absl::Status fits = InField("training", CheckTeacher(arm.config.training(), teacher->model->info(), network));
  return fits.ok() ? fits : InArm(arm, kTeacherField, fits);
}

absl::Status Inputs::CheckWeightsFit(const Arm& arm, const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(const InitialWeights* const file, WeightsOf(arm));
  if (!file->tensors) return absl::OkStatus();
  const absl::StatusOr<Weights> weights = TakeInitialWeights(arm.config, *file->tensors, network);
  if (!weights.ok()) return InArm(arm, kWeightsField, InField(kWeightsField, weights.status()));
  for (const std::string& note : weights->notes) Say(note);
  return absl::OkStatus();
}

void Inputs::Say(const std::string& note) {
  if (said_.insert(note).second) say_(note);
}

}  // namespace prunelab
