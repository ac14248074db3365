#include "ml/regularizers/layer_penalty.h"

#include <vector>

#include "google/protobuf/descriptor.h"
#include "ml/base/check.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/regularizers/conv_selection.h"

namespace prunelab {
namespace {

class LayerPenalty : public Regularizer {
 public:
  LayerPenalty(std::set<std::string> nodes, AddTerms add_terms)
      : nodes_(std::move(nodes)), add_terms_(std::move(add_terms)) {}

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    PenaltySum sum;
    for (const RegularizedLayer& layer : layers) {
      if (nodes_.count(layer.node)) add_terms_(layer, sum);
    }
    return sum.value();
  }

 private:
  const std::set<std::string> nodes_;
  const AddTerms add_terms_;
};

}  // namespace

std::unique_ptr<Regularizer> MakeLayerPenalty(std::set<std::string> nodes, AddTerms add_terms) {
  return std::make_unique<LayerPenalty>(std::move(nodes), std::move(add_terms));
}

absl::StatusOr<std::set<std::string>> PenalizedConvs(const google::protobuf::Message& parameters,
                                                     const NetworkInfo& network) {
  const google::protobuf::FieldDescriptor* field = parameters.GetDescriptor()->FindFieldByName("layers");
  if (field == nullptr) {
    std::set<std::string> convs;
    for (const ConvInfo& conv : network.convs()) convs.insert(conv.node);
    return convs;
  }
  PRUNELAB_CHECK(field->message_type() == LayerSelection::descriptor() && !field->is_repeated())
      << field->full_name() << " is no LayerSelection";
  const auto& layers = static_cast<const LayerSelection&>(parameters.GetReflection()->GetMessage(parameters, field));
  return SelectConvs(
      layers, network, [](const ConvInfo&) { return true; }, "any kernel");
}

}  // namespace prunelab
