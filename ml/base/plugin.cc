#include "ml/base/plugin.h"

#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

std::vector<const PluginKind*>& Kinds() {
  static auto* kinds = new std::vector<const PluginKind*>;
  return *kinds;
}

// "data set" -> "data sets", "pruning strategy" -> "pruning strategies", "network family" -> "network families".
std::string Plural(absl::string_view noun) {
  if (absl::ConsumeSuffix(&noun, "y")) return absl::StrCat(noun, "ies");
  return absl::StrCat(noun, "s");
}

std::string Names(const PluginKind& kind) {
  std::vector<std::string> names;
  for (const auto& [name, info] : kind.linked()) names.push_back(name);
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

}  // namespace

PluginKind::PluginKind(std::string noun, std::string package) : noun_(std::move(noun)), package_(std::move(package)) {
  Kinds().push_back(this);
}

const std::vector<const PluginKind*>& PluginKind::All() { return Kinds(); }

void PluginKind::Add(const google::protobuf::Descriptor* parameters) {
  const std::string& name = parameters->full_name();
  const bool added = linked_.emplace(name, PluginInfo{parameters, Target(name)}).second;
  PRUNELAB_CHECK(added) << name << " is registered twice";
}

std::string PluginKind::Target(absl::string_view full_name) const {
  return absl::StrCat(package_, ":", TargetName(full_name.substr(full_name.rfind('.') + 1)));
}

absl::Status PluginKind::CheckLinked(const google::protobuf::Any& any) const {
  const std::string name = AnyTypeName(any);
  if (linked_.count(name)) return absl::OkStatus();
  for (const PluginKind* other : All()) {
    if (other->linked().count(name)) {
      return absl::InvalidArgumentError(absl::StrCat("[", name, "] is a ", other->noun(), ", not a ", noun_,
                                                     "; linked ", Plural(noun_), ": ", Names(*this)));
    }
  }
  if (name.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("names no ", noun_, "; write e.g. [type.googleapis.com/",
                                                   linked_.empty() ? "prunelab.Name" : linked_.begin()->first,
                                                   "] {}; linked ", Plural(noun_), ": ", Names(*this)));
  }
  return absl::NotFoundError(absl::StrCat("[", name, "] is not linked into this program; linked ", Plural(noun_), ": ",
                                          Names(*this), "; to add it, link ", Target(name)));
}

std::string AnyTypeName(const google::protobuf::Any& any) {
  const std::string& url = any.type_url();
  return url.substr(url.rfind('/') + 1);
}

absl::StatusOr<std::unique_ptr<google::protobuf::Message>> UnpackAny(const google::protobuf::Any& any) {
  const std::string name = AnyTypeName(any);
  const google::protobuf::Descriptor* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (descriptor == nullptr) return absl::NotFoundError(UnlinkedTypeRemedy(name));
  std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  if (!message->ParseFromString(any.value())) {
    return absl::DataLossError(absl::StrCat("the bytes of an Any are no ", name));
  }
  return message;
}

std::string UnlinkedTypeRemedy(absl::string_view full_name) {
  const absl::string_view message = full_name.substr(full_name.rfind('.') + 1);
  std::string text = absl::StrCat("[", full_name, "] is not linked into this program; ");
  std::vector<std::string> packages;
  for (const PluginKind* kind : PluginKind::All()) {
    absl::StrAppend(&text, "linked ", Plural(kind->noun()), ": ", Names(*kind), "; ");
  }
  absl::StrAppend(&text, "to add it, link its target, //ml/{models,data,pruning,regularizers}:", TargetName(message),
                  " by its name");
  return text;
}

std::string TargetName(absl::string_view message_name) {
  if (message_name == "NoPruning" || message_name == "NoRegularizer") return "none";
  // Names of networks that are one word in target names.
  const std::string name = absl::StrReplaceAll(message_name, {{"ResNet", "Resnet"}, {"ImageNet", "Imagenet"}});
  std::string target;
  for (size_t i = 0; i < name.size(); ++i) {
    const unsigned char c = name[i];
    if (std::isupper(c)) {
      const bool after_word = i > 0 && !std::isupper(static_cast<unsigned char>(name[i - 1]));
      if (after_word) target += '_';
      target += static_cast<char>(std::tolower(c));
    } else {
      target += static_cast<char>(c);
    }
  }
  return target;
}

}  // namespace prunelab
