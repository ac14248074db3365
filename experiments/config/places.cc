#include "experiments/config/places.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "experiments/config/trials.h"
#include "ml/base/plugin.h"

namespace prunelab {
namespace {

std::string Under(absl::string_view prefix, absl::string_view path) {
  return absl::StrCat(prefix, prefix.empty() || path.empty() ? "" : ".", path);
}

// A text that sets fields of a message, which is at `prefix` in it.
struct Candidate {
  const TextProtoSource* source = nullptr;
  std::string prefix;                 // "" for the whole text
  const RunConfig* config = nullptr;  // the message, if it is a RunConfig
};

// How many parts of `path` the text sets, from the first on.
int SetDepth(const Candidate& candidate, absl::string_view path) {
  const std::vector<std::string> pieces = absl::StrSplit(path, '.', absl::SkipEmpty());
  int depth = 0;
  std::string head;
  for (const std::string& piece : pieces) {
    head = Under(head, piece);
    if (!candidate.source->Has(Under(candidate.prefix, head))) break;
    ++depth;
  }
  return depth;
}

// Where the field was set last; `candidates` are in order of precedence. A text that sets the whole path takes
// precedence over one that sets only its first parts. No value if no text sets even the first part.
std::optional<std::string> LastPlace(const std::vector<Candidate>& candidates, absl::string_view path) {
  int deepest = 0;
  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates) {
    const int depth = SetDepth(candidate, path);
    if (depth > deepest) {
      deepest = depth;
      best = &candidate;
    }
  }
  if (best == nullptr) return std::nullopt;
  return best->source->Place(Under(best->prefix, path));
}

// The choice of a plugin that `path` leads through, or null.
const google::protobuf::Any* ChoiceAt(const RunConfig& config, absl::string_view path) {
  const auto is_in = [&](absl::string_view field) {
    return path == field || absl::StartsWith(path, absl::StrCat(field, "."));
  };
  if (is_in("network")) return config.has_network() ? &config.network() : nullptr;
  if (is_in("dataset")) return config.has_dataset() ? &config.dataset() : nullptr;
  if (is_in("pruning")) return config.has_pruning() ? &config.pruning() : nullptr;
  if (is_in("regularization.regularizer")) {
    return config.regularization().has_regularizer() ? &config.regularization().regularizer() : nullptr;
  }
  return nullptr;
}

// The texts that set `path` of the ablation, by precedence. A repeated field comes as a whole from one of them.
std::vector<Candidate> CandidatesFor(const AblationTexts& texts, absl::string_view path) {
  const std::string head(path.substr(0, path.find_first_of(".[")));
  const google::protobuf::FieldDescriptor* field = Ablation::descriptor()->FindFieldByName(head);
  const bool repeated = field != nullptr && field->is_repeated();
  if (repeated) {
    return {{texts.override_source.Has(head) ? &texts.override_source : &texts.file_source, "", nullptr}};
  }
  return {{&texts.override_source, "", nullptr}, {&texts.file_source, "", nullptr}};
}

// Of a search the texts that give a trial its fields: the levels that were drawn for it. A value: the place of the
// parameter whose range `path` is drawn from.
std::optional<std::string> AddTrial(const AblationTexts& texts, int trial, absl::string_view path,
                                    std::vector<Candidate>& candidates) {
  const Search& search = texts.merged.search();
  const TextProtoSource& source =
      texts.override_source.Has("search.parameter") ? texts.override_source : texts.file_source;
  const std::vector<std::string> values = DrawnValues(search, trial);
  for (int p = search.parameter_size() - 1; p >= 0; --p) {
    const SearchParameter& parameter = search.parameter(p);
    const std::string prefix = absl::StrCat("search.parameter[", p, "]");
    if (!parameter.has_choice()) {
      const auto sets_it = [&](const Candidate& candidate) {
        return candidate.source->Has(Under(candidate.prefix, path));
      };
      const bool is_last = std::none_of(candidates.begin(), candidates.end(), sets_it);
      if (parameter.field() == path && is_last) return source.Place(prefix);
      continue;
    }
    for (int l = 0; l < parameter.choice().level_size(); ++l) {
      const Level& level = parameter.choice().level(l);
      if (level.name() != values[static_cast<size_t>(p)]) continue;
      candidates.push_back({&source, absl::StrCat(prefix, ".choice.level[", l, "].patch"), &level.patch()});
    }
  }
  return std::nullopt;
}

}  // namespace

std::string PlaceOf(const AblationTexts& texts, absl::string_view path) {
  return LastPlace(CandidatesFor(texts, path), path).value_or(texts.file_source.name());
}

std::string PlaceInArm(const AblationTexts& texts, const RunConfig& config, const std::vector<int>& levels,
                       absl::string_view path) {
  std::vector<Candidate> candidates;
  if (texts.merged.has_search()) {
    if (const std::optional<std::string> place = AddTrial(texts, levels.front(), path, candidates)) return *place;
  }
  for (int f = static_cast<int>(levels.size()) - 1; f >= 0 && !texts.merged.has_search(); --f) {
    const std::string prefix = absl::StrCat("factor[", f, "].level[", levels[f], "].patch");
    candidates.push_back(
        {CandidatesFor(texts, "factor").front().source, prefix, &texts.merged.factor(f).level(levels[f]).patch()});
  }
  candidates.push_back({&texts.override_source, "base", &texts.overriding.base()});
  candidates.push_back({&texts.file_source, "base", &texts.file.base()});
  // The choice of another plugin hides what was set before it.
  if (const google::protobuf::Any* chosen = ChoiceAt(config, path)) {
    const auto hidden = std::find_if(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
      const google::protobuf::Any* own = ChoiceAt(*candidate.config, path);
      return own != nullptr && AnyTypeName(*own) != AnyTypeName(*chosen);
    });
    candidates.erase(hidden, candidates.end());
  }
  return LastPlace(candidates, path).value_or(PlaceOf(texts, "base"));
}

void AblationErrors::AddAt(absl::string_view place, absl::string_view field, absl::string_view text) {
  std::string line = absl::StrCat(place, ": ", field, field.empty() ? "" : ": ", text);
  if (seen_.insert(line).second) lines_.push_back(std::move(line));
}

absl::Status AblationErrors::ToStatus() const {
  return lines_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
}

}  // namespace prunelab
