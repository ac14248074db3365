#include "experiments/config/identity.h"

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/textproto.h"

namespace prunelab {
namespace {

std::string CanonicalOf(const google::protobuf::Message& message) {
  absl::StatusOr<std::string> text = CanonicalText(message);
  PRUNELAB_CHECK(text.ok()) << text.status();
  return *std::move(text);
}

bool IsDefault(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor* field) {
  const std::unique_ptr<google::protobuf::Message> rest(message.New()), alone(message.New());
  rest->CopyFrom(message);
  message.GetReflection()->SwapFields(rest.get(), alone.get(), {field});
  return CanonicalOf(*alone).empty();
}

// The fields of a phase's optimizer, at `path`, that have their default where the run's have not.
std::string DefaultsOver(const google::protobuf::Message& runs, const google::protobuf::Message& own,
                         const std::string& path) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  own.GetReflection()->ListFields(own, &fields);
  std::string text;
  for (const google::protobuf::FieldDescriptor* field : fields) {
    if (!IsDefault(own, field) || IsDefault(runs, field)) continue;
    std::string value;
    google::protobuf::TextFormat::PrintFieldValueToString(own, field, -1, &value);
    absl::StrAppend(&text, path, ".", field->name(), ": ", value, "\n");
  }
  return text;
}

// What CanonicalText leaves out of a phase although it makes another run: a field of its optimizer that it sets to its
// default has an effect if the run, over which it is merged, has another value; and so has sgd with all its defaults if
// the run has another optimizer.
std::string DefaultsOverTheRuns(const RunConfig& config) {
  const Training& run = config.training();
  std::string text;
  for (int i = 0; i < config.phase_size(); ++i) {
    const Phase& phase = config.phase(i);
    const std::string sgd = absl::StrCat("phase[", i, "].sgd");
    const std::string adamw = absl::StrCat("phase[", i, "].adamw");
    if (phase.has_sgd() && run.has_adamw() && CanonicalOf(phase.sgd()).empty()) absl::StrAppend(&text, sgd, ": {}\n");
    if (phase.has_adamw() && !run.has_adamw() && CanonicalOf(phase.adamw()).empty()) {
      absl::StrAppend(&text, adamw, ": {}\n");
    }
    absl::StrAppend(&text, DefaultsOver(run.sgd(), phase.sgd(), sgd), DefaultsOver(run.adamw(), phase.adamw(), adamw));
  }
  return text;
}

std::string CanonicalConfig(const RunConfig& config) {
  // A removal with all its defaults is a removal, too, and no other text says that it exists.
  return absl::StrCat(CanonicalOf(config), config.has_compression() ? "compression: {}\n" : "",
                      config.start_from().has_removal() ? "start_from.removal: {}\n" : "", DefaultsOverTheRuns(config));
}

std::vector<std::pair<std::string, std::string>> CanonicalLines(const RunConfig& config) {
  const std::string text = CanonicalConfig(config);
  std::vector<std::pair<std::string, std::string>> lines;  // path, value
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(absl::StrSplit(line, absl::MaxSplits(absl::ByString(": "), 1)));
  }
  return lines;
}

}  // namespace

std::string RunId(const RunConfig& config, int64_t seed, absl::string_view fingerprint) {
  return Sha256(absl::StrCat(CanonicalConfig(config), "seed: ", seed, "\ndata: ", fingerprint, "\n"));
}

std::string FullRunId(const RunConfig& config, int64_t seed, const RunSources& sources) {
  std::string data = sources.data_fingerprint;
  const auto add = [&data](absl::string_view what, const std::string& text) {
    if (!text.empty()) absl::StrAppend(&data, "\n", what, ": ", text);
  };
  add("initial_weights", sources.weights_digest);
  add("teacher", sources.teacher_digest);
  add(config.has_start_from() ? "start from" : "shape of", sources.source_run_id);
  return RunId(config, seed, data);
}

std::string ArmDifference(const RunConfig& old_config, const RunConfig& new_config) {
  const auto old_lines = CanonicalLines(old_config);
  const auto new_lines = CanonicalLines(new_config);
  const std::map<std::string, std::string> old_values(old_lines.begin(), old_lines.end());
  const std::map<std::string, std::string> new_values(new_lines.begin(), new_lines.end());
  std::string text;
  for (const auto& [path, value] : old_lines) {
    const auto now = new_values.find(path);
    if (now != new_values.end() && now->second == value) continue;
    absl::StrAppend(&text, "- ", path, ": ", value, "\n");
    if (now != new_values.end()) absl::StrAppend(&text, "+ ", path, ": ", now->second, "\n");
  }
  for (const auto& [path, value] : new_lines) {
    if (!old_values.count(path)) absl::StrAppend(&text, "+ ", path, ": ", value, "\n");
  }
  return text;
}

std::string ResolvedText(const RunConfig& config) {
  // The path under which the records have always named the schema. Their bytes stay the same wherever the file is.
  return absl::StrCat("# proto-file: experiments/ablation.proto\n# proto-message: prunelab.RunConfig\n",
                      PrettyText(config));
}

}  // namespace prunelab
