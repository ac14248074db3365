#include "ml/execution/checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/strings/substitute.h"
#include "google/protobuf/text_format.h"
#include "ml/base/glob.h"
#include "ml/base/status_macros.h"
#include "ml/execution/saved_state.h"
#include "ml/network/fake_quantize.h"

namespace prunelab {
namespace {

using Names = std::set<std::string, std::less<>>;

constexpr char kMaskSuffix[] = ".mask", kWeightSuffix[] = ".weight";

std::string Shape(at::IntArrayRef sizes) { return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]"); }

std::string Quote(absl::string_view text) { return absl::StrCat("\"", text, "\""); }

// PyTorch's name for a type that weights cannot have.
std::string TypeName(at::ScalarType type) {
  switch (type) {
    case at::kChar:
      return "int8";
    case at::kByte:
      return "uint8";
    case at::kShort:
      return "int16";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kBool:
      return "bool";
    default:
      return c10::toString(type);
  }
}

// The conv node that the mask tensor `name` belongs to, or null.
const ConvInfo* MaskedNode(const NetworkInfo& info, absl::string_view name) {
  if (!absl::ConsumeSuffix(&name, kMaskSuffix)) return nullptr;
  for (const ConvInfo& conv : info.convs()) {
    if (conv.node == name) return &conv;
  }
  return nullptr;
}

// The names that a file of the network's may have.
Names WantedNames(const NetworkInfo& info) {
  Names wanted;
  for (const ParameterSpec& spec : info.parameters()) wanted.insert(spec.name);
  for (const ConvInfo& conv : info.convs()) wanted.insert(absl::StrCat(conv.node, kMaskSuffix));
  return wanted;
}

// A few of `names`, with how many more there are.
std::string Some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  if (names.size() <= kShown + 1) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kShown, ", "), " and ", names.size() - kShown,
                      " more");
}

// How to transpose weights in another layout than PyTorch's, or "".
std::string LayoutHint(at::IntArrayRef is, at::IntArrayRef wanted) {
  if (is.size() != wanted.size()) return "";
  if (is.size() == 4 && is == at::IntArrayRef({wanted[2], wanted[3], wanted[1], wanted[0]})) {
    return "; TensorFlow's layout? permute(3, 2, 0, 1) makes it PyTorch's";
  }
  if (is.size() == 2 && is == at::IntArrayRef({wanted[1], wanted[0]})) return "; transposed? turn it by .t()";
  return "";
}

// How a file differs from a network.
struct Differences {
  std::vector<std::string> lines;
  std::set<std::string> nodes;       // nodes of the network whose tensors are missing or have another shape
  std::set<std::string> unexpected;  // names in the file
  bool quantized = false;            // a weight has a small integer type
};

// Bits of the weights of a node; 0: they are any numbers.
int64_t WeightBits(const Node& node) {
  return node.has_conv2d() ? node.conv2d().weight_bits() : node.has_linear() ? node.linear().weight_bits() : 0;
}

// Whether the file has whole numbers for a weight, which are multiplied by the layer's weight_scale.
bool IsLevels(const Safetensors& file, const NetworkInfo& info, const ParameterSpec& spec) {
  return file.tensors.at(spec.name).scalar_type() == at::kChar && absl::EndsWith(spec.name, kWeightSuffix) &&
         WeightBits(info.node(info.Index(spec.node))) > 0;
}

// `fresh`: the tensors that may be missing.
Differences DifferencesOf(const Safetensors& file, const NetworkInfo& info, const Names& fresh) {
  Differences differences;
  std::map<std::string, const ParameterSpec*> wanted;
  for (const ParameterSpec& spec : info.parameters()) {
    wanted[spec.name] = &spec;
    const auto found = file.tensors.find(spec.name);
    const auto other = file.passed_over.find(spec.name);
    const auto must_float = [&](absl::string_view type) {
      differences.lines.push_back(
          absl::StrCat(spec.name, " is ", type, "; must be a floating type (float16, bfloat16, float32 or float64)"));
    };
    if (found == file.tensors.end()) {
      if (fresh.count(spec.name) > 0 || absl::EndsWith(spec.name, ".num_batches_tracked")) continue;
      if (other != file.passed_over.end()) {
        must_float(other->second.dtype_name);
        differences.quantized = differences.quantized || absl::StartsWith(other->second.dtype_name, "F");
        continue;
      }
      differences.lines.push_back(absl::StrCat("missing ", spec.name, " ", Shape(spec.shape)));
      differences.nodes.insert(spec.node);
    } else if (found->second.sizes() != at::IntArrayRef(spec.shape)) {
      differences.lines.push_back(absl::StrCat(spec.name, " is ", Shape(found->second.sizes()), "; the network needs ",
                                               Shape(spec.shape), LayoutHint(found->second.sizes(), spec.shape)));
      differences.nodes.insert(spec.node);
    } else if (!spec.is_integer && !c10::isFloatingType(found->second.scalar_type()) && !IsLevels(file, info, spec)) {
      must_float(TypeName(found->second.scalar_type()));
      differences.quantized = differences.quantized || (found->second.scalar_type() != at::kBool);
    }
  }
  for (const auto& [tensor_name, tensor] : file.tensors) {
    if (wanted.count(tensor_name) > 0) continue;
    const ConvInfo* conv = MaskedNode(info, tensor_name);
    if (conv == nullptr) {
      differences.lines.push_back(absl::StrCat("unexpected ", tensor_name, " ", Shape(tensor.sizes())));
      differences.unexpected.insert(tensor_name);
      continue;
    }
    const at::IntArrayRef weight = wanted.at(absl::StrCat(conv->node, kWeightSuffix))->shape;
    const std::vector<int64_t> filters = {conv->filters, 1, 1, 1};
    if (tensor.sizes() != weight && tensor.sizes() != at::IntArrayRef(filters)) {
      differences.lines.push_back(absl::StrCat(tensor_name, " is ", Shape(tensor.sizes()), "; must be ", Shape(weight),
                                               " or ", Shape(filters)));
    } else if (!((tensor == 0) | (tensor == 1)).all().item<bool>()) {
      differences.lines.push_back(absl::StrCat(tensor_name, " holds values other than 0 and 1"));
    }
  }
  return differences;
}

// Globs that match the tensors in which the file differs, as few as possible; with more than kMostGlobs the file is
// probably for another network.
std::string GlobsOf(const Differences& differences, const NetworkInfo& info) {
  constexpr size_t kMostGlobs = 4;
  std::set<std::string> globs;
  for (const std::string& node : differences.nodes) globs.insert(absl::StrCat(node, ".*"));
  const Names wanted = WantedNames(info);
  for (const std::string& name : differences.unexpected) {
    if (std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) { return GlobMatches(glob, name); })) {
      continue;
    }
    const size_t dot = name.find('.');
    const std::string head = dot == std::string::npos ? name : absl::StrCat(name.substr(0, dot), ".*");
    const bool hits =
        std::any_of(wanted.begin(), wanted.end(), [&](const std::string& own) { return GlobMatches(head, own); });
    globs.insert(hits ? name : head);
  }
  return globs.size() > kMostGlobs ? "" : absl::StrJoin(globs, ",");
}

// What the user can do about the differences, as lines that follow them.
std::string Remedies(const Differences& differences, const NetworkInfo& info, const WeightsOptions& options) {
  std::string text;
  if (differences.quantized) {
    absl::StrAppend(&text, "\nQuantized? Dequantize the weights first: scale * (q - zero_point)");
  }
  const auto reparametrized = [](const std::string& name) {
    return absl::StrContains(name, "parametrizations.") || absl::EndsWith(name, "_orig") ||
           absl::EndsWith(name, ".weight_g") || absl::EndsWith(name, ".weight_v");
  };
  if (std::any_of(differences.unexpected.begin(), differences.unexpected.end(), reparametrized)) {
    absl::StrAppend(&text,
                    "\nThe weights are reparametrized. Undo it before saving, by prune.remove(module, \"weight\"), "
                    "parametrize.remove_parametrizations(module, \"weight\"), remove_weight_norm or "
                    "remove_spectral_norm, all of torch.nn.utils");
    return text;
  }
  const std::string globs = GlobsOf(differences, info);
  if (globs.empty()) return text;
  if (!options.fresh_setting.empty()) {
    absl::StrAppend(&text, "\nTo start with these afresh, and pass over what the file has of them: ",
                    absl::Substitute(options.fresh_setting, globs));
  } else if (!options.ignored_setting.empty() && differences.nodes.empty()) {
    absl::StrAppend(&text,
                    "\nTo pass over what is not the network's: ", absl::Substitute(options.ignored_setting, globs));
  }
  return text;
}

absl::Status ToStatus(const Differences& differences, const std::string& name, const std::string& remedies) {
  if (differences.lines.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": does not fit the network, in ", differences.lines.size(),
                                                 differences.lines.size() == 1 ? " place:\n  " : " places:\n  ",
                                                 absl::StrJoin(differences.lines, "\n  "), remedies));
}

// "[1, 0, 2]" for the element at `flat`, or "" for a scalar.
std::string Index(int64_t flat, at::IntArrayRef sizes) {
  std::vector<int64_t> index(sizes.size());
  for (size_t i = sizes.size(); i-- > 0; flat /= sizes[i]) index[i] = flat % sizes[i];
  return index.empty() ? "" : Shape(index);
}

// Renames tensors by `rename`, which returns "" for tensors to remove and never the same name twice.
void Rename(Safetensors& file, const std::function<std::string(const std::string&)>& rename) {
  const auto renamed = [&](auto& entries) {
    std::remove_reference_t<decltype(entries)> kept;
    for (auto& [name, entry] : entries) {
      const std::string now = rename(name);
      if (!now.empty()) kept.emplace(now, std::move(entry));
    }
    entries = std::move(kept);
  };
  renamed(file.tensors);
  renamed(file.passed_over);
}

std::vector<std::string> NamesOf(const Safetensors& file) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors) names.push_back(name);
  for (const auto& [name, entry] : file.passed_over) names.push_back(name);
  return names;
}

// A training's state, from which only the network's tensors are kept.
void TakeNetworkOfState(Weights& weights, const std::string& name, const Names& wanted) {
  if (!IsTrainingState(weights.file)) return;
  std::vector<std::string> of_filters;  // a state stores masks in the shape that they have
  Rename(weights.file, [&](const std::string& tensor) -> std::string {
    const auto [group, rest] = GroupOf(tensor);
    if (group == SavedState::MASK) {
      const at::Tensor& mask = weights.file.tensors.at(tensor);
      if (mask.dim() > 0 && mask.numel() == mask.size(0)) of_filters.push_back(std::string(rest));
      return absl::StrCat(rest, kMaskSuffix);
    }
    return wanted.count(tensor) > 0 || !absl::StrContains(tensor, "/") ? tensor : "";
  });
  weights.file.metadata[kFilterMasksKey] = absl::StrJoin(of_filters, ",");
  weights.notes.push_back(absl::StrCat(name, ": is a run's checkpoint; its weights and masks are taken"));
}

// The tensors that a tool writes instead of a weight: the names of the weight, of its raw values, and of its mask.
struct MaskedWeight {
  std::string weight, raw, mask;
};

// The names of torch.nn.utils.prune (X_orig, X_mask) and of torch.ao.pruning (a parametrization of X).
std::vector<MaskedWeight> MaskedWeights(const Safetensors& file) {
  constexpr char kParametrizations[] = "parametrizations.";
  std::vector<MaskedWeight> found;
  for (const auto& [name, tensor] : file.tensors) {
    MaskedWeight one;
    absl::string_view base = name;
    if (absl::ConsumeSuffix(&base, "_orig")) {
      one = {std::string(base), name, absl::StrCat(base, "_mask")};
    } else if (absl::ConsumeSuffix(&base, ".original")) {
      const size_t at = base.rfind(kParametrizations);
      if (at == absl::string_view::npos || file.tensors.count(absl::StrCat(base, ".1.mask")) > 0) continue;
      one = {absl::StrCat(base.substr(0, at), base.substr(at + sizeof(kParametrizations) - 1)), name,
             absl::StrCat(base, ".0.mask")};
    }
    if (!one.weight.empty() && file.tensors.count(one.mask) > 0 && file.tensors.count(one.weight) == 0) {
      found.push_back(std::move(one));
    }
  }
  return found;
}

absl::Status TakeMaskedWeights(Weights& weights, const std::string& name) {
  std::map<std::string, at::Tensor>& tensors = weights.file.tensors;
  std::vector<std::string> masked, multiplied;
  for (const MaskedWeight& one : MaskedWeights(weights.file)) {
    const at::Tensor raw = tensors.at(one.raw), mask = tensors.at(one.mask);
    absl::string_view node = one.weight;
    if (raw.dim() == 4 && absl::ConsumeSuffix(&node, kWeightSuffix)) {
      tensors[one.weight] = raw;
      tensors[absl::StrCat(node, kMaskSuffix)] = mask;
      masked.push_back(one.weight);
    } else {
      if (mask.sizes() != raw.sizes()) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": ", one.mask, " is ", Shape(mask.sizes()), "; must be ",
                                                       Shape(raw.sizes()), ", as ", one.raw));
      }
      if (!((mask == 0) | (mask == 1)).all().item<bool>()) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": ", one.mask, " holds values other than 0 and 1"));
      }
      tensors[one.weight] = raw * mask.to(raw.scalar_type());
      multiplied.push_back(one.weight);
    }
    tensors.erase(one.raw);
    tensors.erase(one.mask);
  }
  if (!masked.empty()) {
    weights.notes.push_back(absl::StrCat(name, ": masks that torch pruned with are taken as masks: of ", Some(masked)));
  }
  if (!multiplied.empty()) {
    weights.notes.push_back(absl::StrCat(
        name,
        ": masks that torch pruned with are multiplied in, since only weights of convolutions have masks here: of ",
        Some(multiplied)));
  }
  return absl::OkStatus();
}

// Adds what it passes over to `passed_over`, as TakeOffPrefix does.
void PassOverProfilers(Weights& weights, const std::string& name, std::vector<std::string>& passed_over) {
  std::vector<std::string> left;
  Rename(weights.file, [&](const std::string& tensor) -> std::string {
    const absl::string_view leaf = absl::string_view(tensor).substr(tensor.rfind('.') + 1);
    if (leaf != "total_ops" && leaf != "total_params") return tensor;
    left.push_back(tensor);
    return "";
  });
  if (left.empty()) return;
  weights.notes.push_back(absl::StrCat(name, ": what the profiler thop has left in it is passed over: ", Some(left)));
  passed_over.insert(passed_over.end(), left.begin(), left.end());
}

// Counts for each prefix, including "", the names in which the rest after it is one of `wanted`.
std::map<std::string, size_t> CountPrefixes(const std::vector<std::string>& names, const Names& wanted) {
  size_t longest = 0;
  for (const std::string& name : wanted) longest = std::max(longest, name.size());
  std::map<std::string, size_t> counts;
  for (const std::string& name : names) {
    for (size_t at = name.size() - std::min(name.size(), longest); at < name.size(); ++at) {
      if (wanted.count(absl::string_view(name).substr(at)) > 0) ++counts[name.substr(0, at)];
    }
  }
  return counts;
}

// The library that puts such a prefix before names, or "".
std::string Wrapper(absl::string_view piece) {
  if (piece == "module") return "DataParallel";
  if (piece == "_orig_mod") return "torch.compile";
  if (piece == "_fsdp_wrapped_module") return "FSDP";
  if (piece == "model") return "a module that holds the network as `model` (Lightning)";
  if (piece == "state_dict" || piece == "model_state_dict")
    return "a file that holds the state_dict among other things";
  return "";
}

// The prefixes that a wrapper around the network most likely added to the names: none if the names are the network's
// own, several if they occur equally often.
std::vector<std::string> LikelyPrefixes(const std::vector<std::string>& names, const NetworkInfo& info) {
  const std::map<std::string, size_t> counts = CountPrefixes(names, WantedNames(info));
  const auto own = counts.find("");
  const size_t own_names = own == counts.end() ? 0 : own->second;
  size_t most = own_names;
  for (const auto& [prefix, count] : counts) most = std::max(most, count);
  std::vector<std::string> likely;
  if (most > own_names && 2 * most >= std::min(names.size(), info.parameters().size())) {
    for (const auto& [prefix, count] : counts) {
      if (count == most) likely.push_back(prefix);
    }
  } else if (own_names == 0 && !names.empty()) {
    // For another network: the known prefix that all names have.
    std::string prefix;
    for (const absl::string_view piece : absl::StrSplit(names[0], '.')) {
      const std::string longer = absl::StrCat(prefix, piece, ".");
      if (Wrapper(piece).empty() || !std::all_of(names.begin(), names.end(), [&](const std::string& name) {
            return absl::StartsWith(name, longer) && name.size() > longer.size();
          })) {
        break;
      }
      prefix = longer;
    }
    if (!prefix.empty()) likely.push_back(prefix);
  }
  return likely;
}

// Says where the names' prefix comes from and how to remove it, for a user who has not asked for either.
absl::Status PrefixError(const std::vector<std::string>& names, const std::vector<std::string>& prefixes,
                         const std::string& name, const WeightsOptions& options) {
  const auto count = [&](const std::string& prefix) {
    return std::count_if(names.begin(), names.end(),
                         [&](const std::string& tensor) { return absl::StartsWith(tensor, prefix); });
  };
  const auto setting = [&](const std::string& prefix) { return absl::Substitute(options.prefix_setting, prefix); };
  std::string text =
      absl::StrCat(name, ": ", count(prefixes[0]), " of its ", names.size(), " names begin with ", Quote(prefixes[0]));
  if (prefixes.size() > 1) {
    absl::StrAppend(&text, ", and ", count(prefixes[1]), " with ", Quote(prefixes[1]), "; ");
    if (options.prefix_setting.empty()) {
      absl::StrAppend(&text, "save one of them alone, without its prefix");
    } else {
      absl::StrAppend(&text, "choose one by ", setting(prefixes[0]), " or ", setting(prefixes[1]));
    }
    return absl::InvalidArgumentError(text);
  }
  absl::string_view path = prefixes[0];
  absl::ConsumeSuffix(&path, ".");
  std::vector<std::string> by;
  for (const absl::string_view piece : absl::StrSplit(path, '.')) {
    if (!Wrapper(piece).empty()) by.push_back(Wrapper(piece));
  }
  if (!by.empty()) {
    absl::StrAppend(&text, ", as ", absl::StrJoin(by, " and "), by.size() > 1 ? " make them" : " makes them");
  }
  absl::StrAppend(&text, "; ");
  if (!options.prefix_setting.empty()) absl::StrAppend(&text, "take it off by ", setting(prefixes[0]), ", or ");
  if (absl::StrContains(path, "state_dict")) {
    absl::StrAppend(&text, "save checkpoint[", Quote(path), "] alone");
  } else {
    absl::StrAppend(&text, "save model.", path, ".state_dict()");
  }
  return absl::InvalidArgumentError(text);
}

absl::Status TakeOffPrefix(Weights& weights, const std::string& name, const NetworkInfo& info,
                           const WeightsOptions& options, std::vector<std::string>& passed_over) {
  const std::vector<std::string> names = NamesOf(weights.file);
  std::string prefix = options.prefix;
  if (prefix.empty() || prefix == "auto") {
    const std::vector<std::string> likely = LikelyPrefixes(names, info);
    if (likely.empty()) return absl::OkStatus();
    if (prefix.empty() || likely.size() > 1) return PrefixError(names, likely, name, options);
    prefix = likely[0];
  } else {
    const auto begins = [&](const std::string& with) {
      return std::any_of(names.begin(), names.end(), [&](const std::string& t) { return absl::StartsWith(t, with); });
    };
    if (!absl::EndsWith(prefix, ".") && begins(absl::StrCat(prefix, "."))) absl::StrAppend(&prefix, ".");
    if (!begins(prefix)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": none of its names begins with ", Quote(prefix), ", as ",
                                                     absl::Substitute(options.prefix_setting, options.prefix),
                                                     " says; it has ", names.empty() ? "no tensors" : Some(names)));
    }
  }
  std::vector<std::string> others;
  Rename(weights.file, [&](const std::string& tensor) -> std::string {
    absl::string_view rest = tensor;
    if (absl::ConsumePrefix(&rest, prefix)) return std::string(rest);
    others.push_back(tensor);
    return "";
  });
  weights.notes.push_back(
      absl::StrCat(name, ": ", Quote(prefix), " is taken off its names",
                   others.empty() ? "" : absl::StrCat("; what does not begin with it is passed over: ", Some(others))));
  passed_over.insert(passed_over.end(), others.begin(), others.end());
  return absl::OkStatus();
}

// The sizes without the ones at their end.
at::IntArrayRef WithoutLastOnes(at::IntArrayRef sizes) {
  while (!sizes.empty() && sizes.back() == 1) sizes = sizes.slice(0, sizes.size() - 1);
  return sizes;
}

// Tensors that other libraries store in another form than the network: with or without sizes of 1 at the end, as a
// linear layer's weight that is a 1x1 convolution's here; and the factors of a channel_scale by the node's name, as a
// module's own parameter has it.
void TakeOtherForms(Weights& weights, const std::string& name, const NetworkInfo& info) {
  std::map<std::string, at::Tensor>& tensors = weights.file.tensors;
  std::vector<std::string> taken;
  for (const ParameterSpec& spec : info.parameters()) {
    auto found = tensors.find(spec.name);
    const bool is_scale = info.node(info.Index(spec.node)).op_case() == Node::kChannelScale;
    if (found == tensors.end() && is_scale && absl::EndsWith(spec.name, kWeightSuffix)) found = tensors.find(spec.node);
    if (found == tensors.end()) continue;
    const at::Tensor tensor = found->second;
    if (found->first == spec.name && tensor.sizes() == at::IntArrayRef(spec.shape)) continue;
    if (WithoutLastOnes(tensor.sizes()) != WithoutLastOnes(spec.shape)) continue;
    taken.push_back(absl::StrCat(found->first, " ", Shape(tensor.sizes())));
    tensors.erase(found);
    tensors[spec.name] = tensor.reshape(spec.shape);
  }
  if (taken.empty()) return;
  weights.notes.push_back(
      absl::StrCat(name, ": in another form than the network's, with the same numbers: ", Some(taken)));
}

// Removes the tensors that the globs match. A glob may also match tensors that were skipped before.
absl::Status LeaveOut(Weights& weights, const std::string& name, const NetworkInfo& info, const WeightsOptions& options,
                      const std::vector<std::string>& passed_over) {
  const auto any = [](const std::vector<std::string>& globs, const std::string& tensor) {
    absl::string_view node = tensor;
    const std::string weight = absl::ConsumeSuffix(&node, kMaskSuffix) ? absl::StrCat(node, kWeightSuffix) : tensor;
    return std::any_of(globs.begin(), globs.end(),
                       [&](const std::string& glob) { return GlobMatches(glob, tensor) || GlobMatches(glob, weight); });
  };
  for (const ParameterSpec& spec : info.parameters()) {
    if (any(options.fresh, spec.name)) weights.fresh.push_back(spec.name);
  }
  const std::vector<std::string> names = NamesOf(weights.file);
  for (const auto& [globs, setting, whose] :
       {std::make_tuple(&options.fresh, &options.fresh_setting, "the network or of the file"),
        std::make_tuple(&options.ignored, &options.ignored_setting, "the file")}) {
    for (const std::string& glob : *globs) {
      const auto hits = [&one = glob, &any](const std::string& tensor) { return any({one}, tensor); };
      if (std::any_of(names.begin(), names.end(), hits) || std::any_of(passed_over.begin(), passed_over.end(), hits) ||
          (globs == &options.fresh && std::any_of(weights.fresh.begin(), weights.fresh.end(), hits))) {
        continue;
      }
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", absl::Substitute(*setting, glob),
                                                     " matches no tensor of ", whose, "; the file has ",
                                                     names.empty() ? "none" : Some(names)));
    }
  }
  Rename(weights.file, [&](const std::string& tensor) -> std::string {
    return any(options.fresh, tensor) || any(options.ignored, tensor) ? "" : tensor;
  });
  return absl::OkStatus();
}

// One value a filter, [out, 1, 1, 1].
at::Tensor Narrowed(const at::Tensor& mask) { return mask.slice(1, 0, 1).slice(2, 0, 1).slice(3, 0, 1).contiguous(); }

// Whether every filter is on or off as a whole.
bool SameInEachFilter(const at::Tensor& mask) { return (mask == Narrowed(mask)).all().item<bool>(); }

// For masks by node: whether they are masks of filters, judging by their values. A network is masked in one way: a
// single filter that is partly off makes all masks those of weights.
bool LikelyOfFilters(const std::map<std::string, at::Tensor>& masks) {
  return std::all_of(masks.begin(), masks.end(), [](const auto& mask) { return SameInEachFilter(mask.second); });
}

// By number.
at::Tensor IsAllowed(Allowed allowed, const at::Tensor& values) {
  switch (allowed) {
    case Allowed::kAny:
      break;
    case Allowed::kNotNegative:
      return values >= 0;
    case Allowed::kPositive:
      return values > 0;
    case Allowed::kByte:
      return (values >= 0) & (values <= 255) & (values == values.round());
  }
  return at::ones_like(values, at::kBool);
}

const char* Text(Allowed allowed) {
  switch (allowed) {
    case Allowed::kAny:
      return "a number";
    case Allowed::kNotNegative:
      return "at least 0";
    case Allowed::kPositive:
      return "above 0";
    case Allowed::kByte:
      return "a whole number from 0 to 255";
  }
  return "";
}

}  // namespace

std::string NetworkText(const Network& network) {
  std::string text;
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  printer.PrintToString(network, &text);
  return text;
}

Safetensors ModelToSafetensors(const Model& model) {
  Safetensors file;
  file.metadata[kNetworkKey] = NetworkText(model.info().network());
  for (const NamedTensor& parameter : model.parameters()) file.tensors[parameter.name] = parameter.tensor;
  for (const NamedTensor& buffer : model.buffers()) file.tensors[buffer.name] = buffer.tensor;
  for (const Node& node : model.info().network().node()) {
    if (WeightBits(node) == 0) continue;
    const at::Tensor weight = model.Get(absl::StrCat(node.name(), kWeightSuffix)).detach();
    const at::Tensor& scale = model.Get(absl::StrCat(node.name(), ".weight_scale"));
    const at::Tensor levels = WeightLevels(weight, scale, WeightBits(node));
    // A quarter of the bytes, where nothing is lost.
    const bool exact = at::equal(WeightsOfLevels(levels, scale).to(weight.scalar_type()), weight);
    if (exact) file.tensors[absl::StrCat(node.name(), kWeightSuffix)] = levels;
  }
  const bool likely_of_filters = LikelyOfFilters(model.masks());
  bool as_likely = true;
  std::vector<std::string> of_filters;
  for (const auto& [node, mask] : model.masks()) {
    const at::Tensor& weight = model.Get(absl::StrCat(node, kWeightSuffix));
    file.tensors[absl::StrCat(node, kMaskSuffix)] = mask.expand(weight.sizes()).to(at::kFloat);
    if (weight.numel() == weight.size(0)) continue;  // a filter is a weight
    const bool of_filter = mask.numel() == mask.size(0);
    if (of_filter) of_filters.push_back(node);
    as_likely = as_likely && of_filter == likely_of_filters;
  }
  if (!as_likely) file.metadata[kFilterMasksKey] = absl::StrJoin(of_filters, ",");
  return file;
}

absl::StatusOr<NetworkInfo> StoredNetwork(const std::map<std::string, std::string>& metadata, const std::string& name) {
  const auto text = metadata.find(kNetworkKey);
  if (text == metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": carries no network; say which one its weights belong to"));
  }
  Network network;
  if (!google::protobuf::TextFormat::ParseFromString(text->second, &network)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": its metadata \"", kNetworkKey, "\" is no network in text format"));
  }
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(std::move(network));
  if (!info.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", info.status().message()));
  return info;
}

absl::Status CheckFits(const Safetensors& file, const std::string& name, const NetworkInfo& info) {
  const Differences differences = DifferencesOf(file, info, {});
  return ToStatus(differences, name, Remedies(differences, info, {}));
}

absl::Status CheckValues(const Safetensors& file, const std::string& name, const NetworkInfo& info) {
  std::vector<std::string> faults;
  for (const ParameterSpec& spec : info.parameters()) {
    const auto found = file.tensors.find(spec.name);
    if (spec.is_integer || found == file.tensors.end()) continue;
    const at::Tensor values = found->second.flatten(), rounded = values.to(at::kFloat);
    at::Tensor bad = at::isfinite(rounded).logical_not();
    const bool finite = !bad.any().item<bool>();
    if (finite) bad = IsAllowed(spec.allowed, rounded).logical_not();
    const at::Tensor places = bad.nonzero();
    if (places.size(0) == 0) continue;
    const int64_t first = places[0][0].item<int64_t>();
    std::string line =
        absl::StrCat(spec.name, Index(first, found->second.sizes()), " is ", values[first].item<double>(), "; must be ",
                     finite ? Text(spec.allowed) : "finite in float32");
    if (places.size(0) > 1) absl::StrAppend(&line, " (and ", places.size(0) - 1, " more of it)");
    faults.push_back(std::move(line));
  }
  if (faults.empty()) return absl::OkStatus();
  if (faults.size() == 1) return absl::InvalidArgumentError(absl::StrCat(name, ": ", faults[0]));
  return absl::InvalidArgumentError(absl::StrCat(name, ": holds values that no network can compute with, in ",
                                                 faults.size(), " tensors:\n  ", absl::StrJoin(faults, "\n  ")));
}

absl::Status LoadIntoModel(const Safetensors& file, const std::string& name, Model& model) {
  PRUNELAB_RETURN_IF_ERROR(CheckFits(file, name, model.info()));
  const auto copy = [&](const NamedTensor& wanted) {
    const auto found = file.tensors.find(wanted.name);
    if (found == file.tensors.end()) return;
    const auto scale = file.tensors.find(absl::StrCat(wanted.node, ".weight_scale"));
    const bool levels = found->second.scalar_type() == at::kChar && scale != file.tensors.end();
    wanted.tensor.detach().copy_(levels ? WeightsOfLevels(found->second, scale->second) : found->second);
  };
  for (const NamedTensor& parameter : model.parameters()) copy(parameter);
  for (const NamedTensor& buffer : model.buffers()) copy(buffer);
  std::map<std::string, at::Tensor> masks;
  for (const auto& [tensor_name, tensor] : file.tensors) {
    const ConvInfo* conv = model.Has(tensor_name) ? nullptr : MaskedNode(model.info(), tensor_name);
    if (conv != nullptr) masks[conv->node] = tensor.to(at::kFloat);
  }
  const bool likely_of_filters = LikelyOfFilters(masks);
  const auto listed = file.metadata.find(kFilterMasksKey);
  const std::set<std::string> of_filters =
      listed == file.metadata.end() ? std::set<std::string>() : absl::StrSplit(listed->second, ',');
  for (auto& [node, mask] : masks) {
    const bool of_filter = listed == file.metadata.end() ? likely_of_filters : of_filters.count(node) > 0;
    if (of_filter && SameInEachFilter(mask)) mask = Narrowed(mask);
  }
  model.SetMasks(masks);
  return absl::OkStatus();
}

absl::StatusOr<Weights> TakeWeights(Safetensors file, const std::string& name, const NetworkInfo& info,
                                    const WeightsOptions& options) {
  Weights weights;
  weights.file = std::move(file);
  const Names wanted = WantedNames(info);
  TakeNetworkOfState(weights, name, wanted);
  PRUNELAB_RETURN_IF_ERROR(TakeMaskedWeights(weights, name));
  std::vector<std::string> passed_over;
  PassOverProfilers(weights, name, passed_over);
  PRUNELAB_RETURN_IF_ERROR(TakeOffPrefix(weights, name, info, options, passed_over));
  TakeOtherForms(weights, name, info);
  PRUNELAB_RETURN_IF_ERROR(LeaveOut(weights, name, info, options, passed_over));
  for (const std::string& tensor : options.fresh_if_missing) {
    const bool is_fresh = std::find(weights.fresh.begin(), weights.fresh.end(), tensor) != weights.fresh.end();
    if (!is_fresh && weights.file.tensors.count(tensor) == 0) weights.fresh.push_back(tensor);
  }
  for (const auto& [tensor, entry] : weights.file.passed_over) {
    if (wanted.count(tensor) > 0) continue;
    weights.notes.push_back(
        absl::StrCat(name, ": ", tensor, " is ", entry.dtype_name, ", which is not read here; it is passed over"));
  }
  const Differences differences = DifferencesOf(weights.file, info, Names(weights.fresh.begin(), weights.fresh.end()));
  PRUNELAB_RETURN_IF_ERROR(ToStatus(differences, name, Remedies(differences, info, options)));
  PRUNELAB_RETURN_IF_ERROR(CheckValues(weights.file, name, info));
  return weights;
}

absl::StatusOr<Model> ModelOf(Safetensors file, const std::string& name, NetworkInfo info,
                              const WeightsOptions& options, at::ScalarType dtype, at::Device device,
                              std::vector<std::string>* notes) {
  // Checked before memory is allocated for sizes that the network may claim.
  PRUNELAB_ASSIGN_OR_RETURN(const Weights weights, TakeWeights(std::move(file), name, info, options));
  if (notes != nullptr) notes->insert(notes->end(), weights.notes.begin(), weights.notes.end());
  Model model = Model::Create(std::move(info), dtype, device);
  PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(weights.file, name, model));
  return model;
}

absl::StatusOr<Model> LoadModel(const std::string& path, at::ScalarType dtype, at::Device device) {
  PRUNELAB_ASSIGN_OR_RETURN(Safetensors file, ReadSafetensors(path));
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo info, StoredNetwork(file.metadata, path));
  return ModelOf(std::move(file), path, std::move(info), {}, dtype, device, nullptr);
}

}  // namespace prunelab
