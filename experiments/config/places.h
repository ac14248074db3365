// Where the fields of an ablation were set: in its file, in the override that is merged over it, in a level's patch.
// Errors name these places.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"
#include "ml/base/textproto.h"

namespace prunelab {

// An ablation that was merged from a file and an override. All of it must outlive this.
struct AblationTexts {
  const Ablation& merged;
  const Ablation& file;
  const TextProtoSource& file_source;
  const Ablation& overriding;
  const TextProtoSource& override_source;
};

// "file:line:col" of where the field at `path` of the ablation was set last, or its nearest parent, or the file's name.
std::string PlaceOf(const AblationTexts& texts, absl::string_view path);

// The same for the field at `path` of the config of the arm with these levels: the levels' patches go over the base,
// the last factor's first. `config` is that of the arm.
std::string PlaceInArm(const AblationTexts& texts, const RunConfig& config, const std::vector<int>& levels,
                       absl::string_view path);

// What is wrong with an ablation: lines "place: field: text" in the order in which they were found, each once.
class AblationErrors {
 public:
  explicit AblationErrors(const AblationTexts& texts) : texts_(texts) {}

  // An error of the field at `path` of the ablation.
  void Add(absl::string_view path, absl::string_view text) { AddAt(PlaceOf(path), path, text); }
  void AddAt(absl::string_view place, absl::string_view field, absl::string_view text);
  std::string PlaceOf(absl::string_view path) const { return prunelab::PlaceOf(texts_, path); }

  size_t size() const { return lines_.size(); }
  // InvalidArgument with all lines, or OK if there are none.
  absl::Status ToStatus() const;

 private:
  const AblationTexts& texts_;
  std::vector<std::string> lines_;
  std::set<std::string> seen_;
};

}  // namespace prunelab
