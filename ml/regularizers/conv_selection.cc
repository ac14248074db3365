#include "ml/regularizers/conv_selection.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/field_error.h"
#include "ml/base/glob.h"

namespace prunelab {

absl::StatusOr<std::set<std::string>> SelectConvs(const LayerSelection& layers, const NetworkInfo& network,
                                                  const std::function<bool(const ConvInfo&)>& eligible,
                                                  absl::string_view description) {
  std::set<std::string> selected;
  std::vector<std::string> offered;
  for (const ConvInfo& conv : network.convs()) {
    if (!eligible(conv)) continue;
    offered.push_back(conv.node);
    const bool excluded = layers.has_exclude() && GlobMatches(layers.exclude(), conv.node);
    if (GlobMatches(layers.include(), conv.node) && !excluded) selected.insert(conv.node);
  }
  if (!selected.empty()) return selected;
  if (offered.empty()) {
    return FieldError("layers", absl::StrCat("the network has no convolution with ", description,
                                             "; choose another regularizer or NoRegularizer"));
  }
  return FieldError("layers", absl::StrCat("include \"", layers.include(), "\", exclude \"", layers.exclude(),
                                           "\" leave no convolution with ", description, "; there are ",
                                           absl::StrJoin(offered, ", ")));
}

}  // namespace prunelab
