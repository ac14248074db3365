#include "experiments/config/seed_files.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace prunelab {

bool NamesSeed(const RunConfig& config) {
  return absl::StrContains(config.initial_weights(), kSeedInName) ||
         absl::StrContains(config.training().teacher().checkpoint(), kSeedInName);
}

RunConfig ForSeed(const RunConfig& config, int64_t seed) {
  RunConfig own = config;
  if (!NamesSeed(config)) return own;
  const auto named = [&](const std::string& name) {
    return absl::StrReplaceAll(name, {{kSeedInName, absl::StrCat(seed)}});
  };
  if (config.has_initial_weights()) own.set_initial_weights(named(config.initial_weights()));
  if (config.training().has_teacher()) {
    Teacher& teacher = *own.mutable_training()->mutable_teacher();
    teacher.set_checkpoint(named(teacher.checkpoint()));
  }
  return own;
}

}  // namespace prunelab
