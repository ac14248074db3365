// Trainings with what a config may add to plain SGD, for tests: those of recipes.safetensors, which
// tools/reference/recipes_values.py made with PyTorch and describes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ml/training/trainer.h"

namespace prunelab {

// Of each case.
inline constexpr int64_t kRecipeEpochs = 2;

struct RecipeCase {
  const char* name;
  const char* training;          // its text, beside epochs, batch size and, without another optimizer, SGD's
  const char* pruning = "";      // "" is NoPruning; the type's prefix is left out
  const char* regularizer = "";  // "" is none, else at weight 0.7
};

const std::vector<RecipeCase>& RecipeCases();

// The case's config, and its whole setup: a ResNet-8 on the hashed data (hashed_training.h).
Training TrainingOf(const RecipeCase& test);
TrainingSetup SetupOf(const RecipeCase& test, at::ScalarType dtype);

// A tensor of recipes.safetensors.
at::Tensor ExpectedOfRecipe(const std::string& name);

}  // namespace prunelab
