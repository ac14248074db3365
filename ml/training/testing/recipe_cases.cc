#include "ml/training/testing/recipe_cases.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/testing/hashed_training.h"

namespace prunelab {
namespace {

constexpr char kSgd[] = "sgd { learning_rate: 0.05 momentum: 0.9 weight_decay: 1e-3 } ";
constexpr char kAdamW[] = "adamw { learning_rate: 0.01 beta1: 0.8 beta2: 0.95 epsilon: 1e-3 weight_decay: 0.1 } ";
constexpr char kDynamic[] = "DynamicL1] { rate: 0.6 }";
constexpr char kMasked[] = "Unstructured] { rate: 0.9 }";

const RecipeCase kCases[] = {
    {"adamw", kAdamW},
    {"adamw_dynamic_cov", kAdamW, kDynamic, "Cov] {}"},
    {"adamw_masked", kAdamW, kMasked},
    {"smooth", "label_smoothing: 0.2 "},
    {"smooth_dynamic_cov", "label_smoothing: 0.2 ", kDynamic, "Cov] {}"},
    {"clipped", "clip_gradient_norm: 3 "},
    {"accumulated", "accumulate_batches: 3 "},
    {"accumulated_dynamic_decov", "accumulate_batches: 3 ", "DynamicL1] { rate: 0.6 period: 2 }", "Decov] {}"},
    {"accumulated_gradient_average_adamw_clipped",
     "accumulate_batches: 3 weight_average { decay: 0.8 } clip_gradient_norm: 1.5 "
     "adamw { learning_rate: 0.01 beta1: 0.8 beta2: 0.95 epsilon: 1e-3 weight_decay: 0.1 } ",
     "DynamicL1] { rate: 0.6 period: 2 importance: GRADIENT }"},
    {"average", "weight_average { decay: 0.8 } "},
    {"average_dynamic_cov", "weight_average { decay: 0.8 } ", kDynamic, "Cov] {}"},
    {"average_masked_adamw_recalibrated",
     "weight_average { decay: 0.8 } bn_recalibration_batches: 3 "
     "adamw { learning_rate: 0.01 beta1: 0.8 beta2: 0.95 epsilon: 1e-3 weight_decay: 0.1 } ",
     kMasked},
    {"teacher", "teacher { checkpoint: 'x' } "},
    {"teacher_dynamic_cov_smooth", "teacher { checkpoint: 'x' temperature: 2 weight: 0.5 } label_smoothing: 0.1 ",
     kDynamic, "Cov] {}"},
    {"clipped_dynamic_cov", "clip_gradient_norm: 3 ", kDynamic, "Cov] {}"},
    {"clipped_masked_adamw",
     "adamw { learning_rate: 0.01 beta1: 0.8 beta2: 0.95 epsilon: 1e-3 weight_decay: 0.1 } "
     "clip_gradient_norm: 1.5 ",
     kMasked},
};

const Dataset& Data() {
  static const Dataset* data = new Dataset(HashedData());
  return *data;
}

// A deeper network than the one that learns.
Model TeacherModel(at::ScalarType dtype) {
  Model teacher = Model::Create(HashedResNet(14), dtype, at::kCPU);
  InitializeByHash(teacher);
  return teacher;
}

}  // namespace

const std::vector<RecipeCase>& RecipeCases() {
  static const std::vector<RecipeCase>* cases = new std::vector<RecipeCase>(std::begin(kCases), std::end(kCases));
  return *cases;
}

Training TrainingOf(const RecipeCase& test) {
  Training training;
  const std::string text = absl::StrCat(absl::StrContains(test.training, "adamw {") ? "" : kSgd, test.training,
                                        "epochs: ", kRecipeEpochs, " batch_size: ", kHashedBatch);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &training)) << text;
  return training;
}

TrainingSetup SetupOf(const RecipeCase& test, at::ScalarType dtype) {
  TrainingSetup setup;
  setup.network = HashedResNet(8);
  setup.dataset = &Data();
  setup.config = TrainingOf(test);
  setup.seed = kHashedSeed;
  setup.dtype = dtype;
  if (setup.config.has_teacher()) setup.teacher = TeacherModel(dtype);
  setup.strategy =
      *CreatePruningStrategy(PluginOf(*test.pruning ? test.pruning : "NoPruning] {}"), {&setup.network, setup.seed});
  setup.regularizer =
      *CreateRegularizer(PluginOf(*test.regularizer ? test.regularizer : "NoRegularizer] {}"), setup.network);
  setup.penalty_weight = *test.regularizer ? 0.7 : 0;
  return setup;
}

at::Tensor ExpectedOfRecipe(const std::string& name) {
  static const Safetensors* file = [] {
    absl::StatusOr<Safetensors> read = ReadSafetensors("ml/training/recipes.safetensors");
    EXPECT_TRUE(read.ok()) << read.status();
    return new Safetensors(*std::move(read));
  }();
  return file->tensors.at(name);
}

}  // namespace prunelab
