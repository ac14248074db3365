// Reads any safetensors file as the weights of a network, or refuses it with a reason.
#include <ATen/ATen.h>

#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/execution/checkpoint.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

// The network of some files in the corpus: conv [2, 1, 1, 1], bn of 2, fc [2, 2].
NetworkInfo SmallNetwork() {
  Network network;
  PRUNELAB_CHECK(google::protobuf::TextFormat::ParseFromString(
      "node { name: 'x' image { channels: 1 height: 2 width: 2 } } "
      "node { name: 'conv' input: 'x' conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 } } "
      "node { name: 'bn' input: 'conv' batch_norm2d {} } node { name: 'pool' input: 'bn' global_average_pool {} } "
      "node { name: 'flat' input: 'pool' flatten {} } node { name: 'fc' input: 'flat' linear { out_features: 2 } }",
      &network));
  return *NetworkInfo::Create(network);
}

void Take(const Safetensors& file) {
  static const NetworkInfo* info = new NetworkInfo(SmallNetwork());
  WeightsOptions asked;
  asked.prefix = "auto";
  asked.fresh = {"fc.*"};
  asked.prefix_setting = asked.fresh_setting = "$0";
  for (const WeightsOptions& options : {WeightsOptions(), asked}) {
    const absl::StatusOr<Weights> weights = TakeWeights(file, "fuzz", *info, options);
    if (weights.ok()) {
      PRUNELAB_CHECK(CheckValues(weights->file, "fuzz", *info).ok());
      PRUNELAB_CHECK(!weights->fresh.empty() || CheckFits(weights->file, "fuzz", *info).ok());
    } else {
      PRUNELAB_CHECK(!weights.status().message().empty());
    }
  }
}

}  // namespace
}  // namespace prunelab

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<prunelab::Safetensors> read = prunelab::ParseSafetensors(bytes, "fuzz");
  if (read.ok()) prunelab::Take(*read);
  return 0;
}
