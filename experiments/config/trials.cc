#include "experiments/config/trials.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "experiments/config/names.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "ml/base/field_error.h"
#include "ml/base/plugin.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/compression/goal_config.h"

namespace prunelab {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kAny[] = "google.protobuf.Any";

std::string ParameterPath(int index) { return absl::StrCat("search.parameter[", index, "]"); }

// Six digits are enough to try, read the same on every machine, and stay within the range.
std::string NumberText(double value, double from, double to) {
  std::string text = absl::StrFormat("%.6g", value);
  double rounded = 0;
  if (absl::SimpleAtod(text, &rounded) && rounded >= from && rounded <= to) return text;
  return absl::StrFormat("%.17g", std::min(std::max(value, from), to));
}

std::string DrawnValue(const SearchParameter& parameter, RandomStream& stream) {
  switch (parameter.values_case()) {
    case SearchParameter::kUniform: {
      const SearchParameter::Range& range = parameter.uniform();
      return NumberText(range.from() + (range.to() - range.from()) * stream.Uniform(), range.from(), range.to());
    }
    case SearchParameter::kLogUniform: {
      const SearchParameter::Range& range = parameter.log_uniform();
      const double first = std::log(range.from()), last = std::log(range.to());
      return NumberText(std::exp(first + (last - first) * stream.Uniform()), range.from(), range.to());
    }
    case SearchParameter::kWhole: {
      const auto count = static_cast<uint64_t>(parameter.whole().to() - parameter.whole().from()) + 1;
      return absl::StrCat(parameter.whole().from() + static_cast<int64_t>(stream.Below(count)));
    }
    case SearchParameter::kChoice:
      return parameter.choice()
          .level(static_cast<int>(stream.Below(static_cast<uint64_t>(parameter.choice().level_size()))))
          .name();
    case SearchParameter::VALUES_NOT_SET:
      break;
  }
  return "";
}

void CheckRange(const SearchParameter::Range& range, bool logarithmic, const std::string& path,
                std::vector<absl::Status>& errors) {
  if (!range.has_from() || !range.has_to()) {
    errors.push_back(FieldError(path, absl::StrCat("has no ", range.has_from() ? "to" : "from",
                                                   "; give both ends, e.g. { from: 0.01 to: 0.5 }")));
  } else if (!(std::isfinite(range.from()) && std::isfinite(range.to()) && range.from() < range.to())) {
    errors.push_back(FieldError(path, absl::StrCat("goes from ", range.from(), " to ", range.to(),
                                                   "; must be finite numbers, the first below the second")));
  } else if (logarithmic && !(range.from() > 0)) {
    errors.push_back(FieldError(path + ".from", absl::StrCat("is ", range.from(), "; a logarithm needs it above 0")));
  }
}

void CheckChoice(const SearchParameter& parameter, const std::string& path, std::vector<absl::Status>& errors) {
  if (parameter.has_field()) {
    errors.push_back(FieldError(path + ".field", "does not go with a choice, whose levels have patches; leave it out"));
  }
  if (!parameter.has_name()) {
    errors.push_back(FieldError(path + ".name", "is not set; say what is chosen, e.g. name: \"strategy\""));
  }
  if (parameter.choice().level_size() < 2) {
    errors.push_back(FieldError(path + ".choice", absl::StrCat("has ", parameter.choice().level_size(),
                                                               " levels; must have at least two to choose from")));
  }
  std::set<std::string> names;
  for (int i = 0; i < parameter.choice().level_size(); ++i) {
    const std::string& name = parameter.choice().level(i).name();
    const std::string fault = NameFault(name);
    const std::string field = absl::StrCat(path, ".choice.level[", i, "].name");
    if (!fault.empty()) {
      errors.push_back(FieldError(field, fault));
    } else if (!names.insert(name).second) {
      errors.push_back(FieldError(field, absl::StrCat("is ", Quote(name), " a second time; give each its own")));
    }
  }
}

void CheckParameter(const SearchParameter& parameter, const std::string& path, std::vector<absl::Status>& errors) {
  if (parameter.values_case() != SearchParameter::kChoice && !parameter.has_field()) {
    errors.push_back(FieldError(path + ".field",
                                "is not set; name a field of the base, e.g. field: \"training.sgd.learning_rate\""));
  }
  switch (parameter.values_case()) {
    case SearchParameter::kUniform:
      return CheckRange(parameter.uniform(), false, path + ".uniform", errors);
    case SearchParameter::kLogUniform:
      return CheckRange(parameter.log_uniform(), true, path + ".log_uniform", errors);
    case SearchParameter::kWhole: {
      const SearchParameter::WholeRange& range = parameter.whole();
      const bool fits = range.from() < range.to() &&
                        static_cast<uint64_t>(range.to()) - static_cast<uint64_t>(range.from()) < (uint64_t{1} << 62);
      if (range.has_from() && range.has_to() && fits) return;
      errors.push_back(FieldError(path + ".whole", absl::StrCat("goes from ", range.from(), " to ", range.to(),
                                                                "; must be two whole numbers, the first below the "
                                                                "second, e.g. { from: 1 to: 5 }")));
      return;
    }
    case SearchParameter::kChoice:
      return CheckChoice(parameter, path, errors);
    case SearchParameter::VALUES_NOT_SET:
      errors.push_back(FieldError(path,
                                  "has no values; give it a range, e.g. log_uniform { from: 0.01 to: 0.5 }, or "
                                  "a choice"));
  }
}

// The fields of a message, for an error.
std::string FieldsOf(const google::protobuf::Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return absl::StrJoin(names, ", ");
}

// Why a field cannot be given what a range draws, or "".
std::string FieldFault(const FieldDescriptor& field, bool whole) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "";
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return whole ? "" : "is a whole number; draw it from whole { from: 1 to: 5 }";
    default:
      return "is no number; use a choice, whose levels have patches";
  }
}

}  // namespace

// The same whatever the number of trials, so that more of them find the folders of the first ones.
std::string TrialName(int64_t trial) { return absl::StrFormat("trial_%03d", trial); }

std::string ParameterName(const SearchParameter& parameter) {
  if (parameter.has_name()) return parameter.name();
  return parameter.field().substr(parameter.field().rfind('.') + 1);
}

std::vector<std::string> DrawnValues(const Search& search, int64_t trial) {
  std::vector<std::string> values;
  for (int p = 0; p < search.parameter_size(); ++p) {
    RandomStream stream(static_cast<uint64_t>(search.seed()), "search", static_cast<uint64_t>(trial),
                        static_cast<uint64_t>(p));
    values.push_back(DrawnValue(search.parameter(p), stream));
  }
  return values;
}

std::vector<int64_t> Rungs(const Search& search, int64_t epochs) {
  std::vector<int64_t> rungs;
  for (int64_t rung = search.first_epochs(); rung <= epochs / search.reduction(); rung *= search.reduction()) {
    rungs.push_back(rung);
  }
  rungs.push_back(epochs);
  return rungs;
}

int64_t ExpectedEpochs(const Search& search, int64_t epochs) {
  int64_t trials = search.trials(), before = 0, expected = 0;
  for (const int64_t rung : Rungs(search, epochs)) {
    expected += trials * (rung - before);
    before = rung;
    trials /= search.reduction();
  }
  return expected;
}

std::vector<absl::Status> CheckSearch(const Ablation& ablation) {
  const Search& search = ablation.search();
  std::vector<absl::Status> errors;
  const auto check_from = [&](const char* field, int64_t value, int64_t least, int64_t most) {
    if (value >= least && value <= most) return;
    errors.push_back(
        FieldError(absl::StrCat("search.", field), absl::StrCat("is ", value, "; must be from ", least, " to ", most)));
  };
  if (!search.has_trials()) {
    errors.push_back(FieldError("search", "has no trials; say how many to try, e.g. trials: 30"));
  } else {
    check_from("trials", search.trials(), 2, kMaxTrials);
  }
  check_from("first_epochs", search.first_epochs(), 1, kMaxSearchEpochs);
  check_from("reduction", search.reduction(), 2, 1000);
  check_from("parallel", search.parallel(), 1, kMaxParallelTrials);
  check_from("seed", search.seed(), 0, std::numeric_limits<int64_t>::max());
  if (search.has_hours() && !(search.hours() > 0 && std::isfinite(search.hours()))) {
    errors.push_back(FieldError("search.hours", absl::StrCat("is ", search.hours(), "; must be above 0")));
  }
  if (search.has_target()) {
    absl::Status goal = ValidateGoal(search.target());
    if (goal.ok() && !search.target().has_macs() && !search.target().has_parameters()) {
      goal = FieldError(GoalField(search.target()), "is no target of a search; set macs or parameters");
    }
    if (!goal.ok()) errors.push_back(InField("search.target", goal));
  }
  if (search.parameter().empty()) {
    errors.push_back(FieldError("search",
                                "has no parameter; say what differs between trials, e.g. parameter { field: "
                                "\"training.sgd.learning_rate\" log_uniform { from: 0.01 to: 0.5 } }"));
  }
  if (!(ablation.base().training().validation_fraction() > 0)) {
    errors.push_back(FieldError("base.training.validation_fraction",
                                "is 0, but a search compares its trials on validation data; give it e.g. 0.1"));
  }
  std::set<std::string> names;
  for (int p = 0; p < search.parameter_size(); ++p) {
    const SearchParameter& parameter = search.parameter(p);
    CheckParameter(parameter, ParameterPath(p), errors);
    const std::string name = ParameterName(parameter);
    if (!name.empty() && !names.insert(name).second) {
      errors.push_back(FieldError(
          ParameterPath(p), absl::StrCat("is called ", Quote(name), ", as one before; give it a name of its own")));
    }
  }
  for (const auto& [field, is_set] :
       {std::pair("exclude", !ablation.exclude().empty()), std::pair("include", !ablation.include().empty()),
        std::pair("comparison", !ablation.comparison().empty()), std::pair("contrast", !ablation.contrast().empty())}) {
    if (is_set) errors.push_back(FieldError(field, "does not go with search, whose arms are its trials; leave it out"));
  }
  return errors;
}

absl::StatusOr<std::string> PatchText(const RunConfig& config, absl::string_view path, absl::string_view value,
                                      bool whole) {
  std::vector<std::unique_ptr<Message>> unpacked;  // of plugins on the way
  const Message* message = &config;
  std::string text, end;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (size_t i = 0; i < parts.size(); ++i) {
    const google::protobuf::Descriptor& type = *message->GetDescriptor();
    const FieldDescriptor* const field = type.FindFieldByName(parts[i]);
    const std::string here = absl::StrJoin(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(i) + 1, ".");
    if (field == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quote(path), ": ", type.name(), " has no field ", Quote(parts[i]), "; it has ", FieldsOf(type)));
    }
    if (field->is_repeated()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quote(here), " is a list; use a choice, whose levels have patches"));
    }
    const google::protobuf::OneofDescriptor* const oneof = field->real_containing_oneof();
    if (oneof != nullptr && message->GetReflection()->HasOneof(*message, oneof)) {
      const std::string& set = message->GetReflection()->GetOneofFieldDescriptor(*message, oneof)->name();
      if (set != parts[i]) {
        return absl::InvalidArgumentError(
            absl::StrCat(Quote(here), " would take the place of ", Quote(set),
                         ", which is set beside it; name a field of that, or leave it out"));
      }
    }
    if (i + 1 == parts.size()) {
      const std::string fault = FieldFault(*field, whole);
      if (!fault.empty()) return absl::InvalidArgumentError(absl::StrCat(Quote(here), " ", fault));
      return absl::StrCat(text, parts[i], ": ", value, end);
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quote(here), " is a value, and has no field ", Quote(parts[i + 1])));
    }
    absl::StrAppend(&text, parts[i], " { ");
    end += " }";
    message = &message->GetReflection()->GetMessage(*message, field);
    if (field->message_type()->full_name() != kAny) continue;
    const auto& any = static_cast<const google::protobuf::Any&>(*message);
    const std::string name = AnyTypeName(any);
    const google::protobuf::Descriptor* const plugin =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
    if (name.empty() || plugin == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quote(here), name.empty() ? " is not set in the base" : absl::StrCat(" is ", name, ", which is not linked"),
          ", so that nothing is known of its field ", Quote(parts[i + 1]), "; set it there"));
    }
    unpacked.emplace_back(google::protobuf::MessageFactory::generated_factory()->GetPrototype(plugin)->New());
    if (!unpacked.back()->ParseFromString(any.value())) {
      return absl::InvalidArgumentError(absl::StrCat(Quote(here), ": its parameters do not parse"));
    }
    message = unpacked.back().get();
    absl::StrAppend(&text, "[type.googleapis.com/", name, "] { ");
    end += " }";
  }
  return absl::InvalidArgumentError("names no field");
}

absl::Status AddTrials(Ablation* ablation) {
  const Search& search = ablation->search();
  Factor factor;
  factor.set_name(kTrialFactor);
  for (int64_t trial = 0; trial < search.trials(); ++trial) {
    Level& level = *factor.add_level();
    level.set_name(TrialName(trial));
    RunConfig config = ablation->base();
    const std::vector<std::string> values = DrawnValues(search, trial);
    for (int p = 0; p < search.parameter_size(); ++p) {
      const SearchParameter& parameter = search.parameter(p);
      RunConfig patch;
      if (parameter.has_choice()) {
        const auto& levels = parameter.choice().level();
        patch = std::find_if(levels.begin(), levels.end(), [&](const Level& one) {
                  return one.name() == values[static_cast<size_t>(p)];
                })->patch();
      } else {
        const absl::StatusOr<std::string> text =
            PatchText(config, parameter.field(), values[static_cast<size_t>(p)], parameter.has_whole());
        if (!text.ok()) return FieldError(ParameterPath(p) + ".field", text.status().message());
        const absl::Status parsed = TextProtoSource::Parse(parameter.field(), *text, &patch).status();
        if (!parsed.ok()) {
          return FieldError(ParameterPath(p), absl::StrCat("draws ", values[static_cast<size_t>(p)],
                                                           ", which its field cannot have: ", parsed.message()));
        }
      }
      for (RunConfig* merged : {&config, level.mutable_patch()}) {
        const absl::Status status = MergePatch(patch, merged);
        if (!status.ok()) return FieldError(ParameterPath(p), status.message());
      }
    }
    level.mutable_patch()->mutable_training()->set_test_data(false);
  }
  if (ablation->factor().empty()) {
    *ablation->add_factor() = std::move(factor);
    return absl::OkStatus();
  }
  // The ablation that a search writes into its folder contains its trials.
  if (ablation->factor_size() == 1 && PrettyText(ablation->factor(0)) == PrettyText(factor)) {
    return absl::OkStatus();
  }
  return FieldError("factor",
                    "does not go with search, whose arms are its trials; leave it out, or draw a level by a "
                    "parameter with a choice");
}

}  // namespace prunelab
