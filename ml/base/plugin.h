// Plugins: what a config chooses by a google.protobuf.Any. The type of the parameters' message names the plugin, the
// message's option `method` (method.proto) describes it, and its .cc file registers it:
//
//   const bool registered = RegisterPruningStrategy(&CreateSoftFilter);
//
// So linking a plugin's target makes it known to its kind's registry. A kind (network, data set, pruning strategy,
// regularizer) is one PluginRegistry, an accessor function next to the kind's interface. Errors say what is linked and
// which target would add what is missing.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "ml/base/method.pb.h"

namespace prunelab {

struct PluginInfo {
  const google::protobuf::Descriptor* parameters = nullptr;
  std::string target;  // the Bazel target that has it, e.g. //ml/pruning:dynamic_l1

  // The description on the parameters' message.
  const Method& method() const { return parameters->options().GetExtension(prunelab::method); }
};

// The part of a registry that does not depend on what its factories make.
class PluginKind {
 public:
  // `noun` as in "is not a pruning strategy"; `package` as in "//ml/pruning", where targets are looked for by
  // convention.
  PluginKind(std::string noun, std::string package);
  PluginKind(const PluginKind&) = delete;
  PluginKind& operator=(const PluginKind&) = delete;

  const std::string& noun() const { return noun_; }
  // Linked plugins by the full name of their parameters' message.
  const std::map<std::string, PluginInfo>& linked() const { return linked_; }
  // Every kind of the program, in the order of their construction.
  static const std::vector<const PluginKind*>& All();

  // OK if `any` is of this kind and linked; else an error that says what it is, what is linked, and what target would
  // add it.
  absl::Status CheckLinked(const google::protobuf::Any& any) const;

 protected:
  void Add(const google::protobuf::Descriptor* parameters);

 private:
  // That of the plugin whose parameters' message has this name, by convention.
  std::string Target(absl::string_view full_name) const;

  std::string noun_;
  std::string package_;
  std::map<std::string, PluginInfo> linked_;
};

template <typename Factory>
class PluginRegistry : public PluginKind {
 public:
  using PluginKind::PluginKind;

  void Register(const google::protobuf::Descriptor* parameters, Factory factory) {
    factories_[parameters->full_name()] = std::move(factory);
    Add(parameters);
  }

  // The factory for the parameters in `any`, which stays valid for the life of the program.
  absl::StatusOr<const Factory*> Find(const google::protobuf::Any& any) const;

 private:
  std::map<std::string, Factory> factories_;
};

// "prunelab.DynamicL1" of a type URL "type.googleapis.com/prunelab.DynamicL1".
std::string AnyTypeName(const google::protobuf::Any& any);

// The message in `any`, by the generated pool. Errors: a type that is not linked, bytes that do not parse.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> UnpackAny(const google::protobuf::Any& any);

// What a text parser's failure to find the type `full_name` should say: what is linked, and which target would add it.
std::string UnlinkedTypeRemedy(absl::string_view full_name);

// "DynamicL1" -> "dynamic_l1".
std::string TargetName(absl::string_view message_name);

template <typename Factory>
absl::StatusOr<const Factory*> PluginRegistry<Factory>::Find(const google::protobuf::Any& any) const {
  absl::Status linked = CheckLinked(any);
  if (!linked.ok()) return linked;
  return &factories_.at(AnyTypeName(any));
}

}  // namespace prunelab
