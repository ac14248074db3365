// Checkpoints with what the reference plan computes from them, for prunelab_network_test.py. Argument: an empty folder.
//
// Each case is two files. <case>.safetensors is the checkpoint. <case>.values.safetensors has `images`, and what they
// become in evaluation: `output/0` (and further, if the network lists more outputs). In float64 it also has one step of
// training: the loss is the sum of the values of the outputs times `factor/0`, ...; `gradient/<parameter>` are its
// gradients, and `after/<buffer>` the buffers after the step.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/base/random.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"
#include "ml/models/densenet.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/regnet.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/resnet_imagenet.h"
#include "ml/quantization/quantize.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

at::Tensor RandomTensor(const std::vector<int64_t>& shape, const std::string& name, at::ScalarType dtype) {
  RandomStream stream(1, name);
  const at::Tensor values = at::empty(shape, at::kDouble);
  double* data = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) data[i] = stream.Normal();
  return values.to(dtype);
}

// The outputs of the network, the logits first.
std::vector<at::Tensor> Outputs(Model& model, const at::Tensor& images, ForwardOptions options) {
  const Network& network = model.info().network();
  options.capture.insert(network.output().begin(), network.output().end());
  ReferencePlan plan;
  const ForwardResult result = plan.Forward(model, images, options);
  if (network.output().empty()) return {result.logits};
  std::vector<at::Tensor> outputs;
  for (const std::string& name : network.output()) outputs.push_back(result.captured.at(name));
  return outputs;
}

class CaseWriter {
 public:
  explicit CaseWriter(std::string folder) : folder_(std::move(folder)) {}

  void Write(const std::string& name, Model model) {
    constexpr int64_t kImages = 3;
    const NodeShape& shape = model.info().input_shape();
    Safetensors values;
    const at::Tensor images = RandomTensor({kImages, shape.channels, shape.height, shape.width}, name, model.dtype());
    values.tensors["images"] = images;
    Save(absl::StrCat(name, ".safetensors"), ModelToSafetensors(model));
    {
      const at::NoGradGuard no_gradients;
      const std::vector<at::Tensor> outputs = Outputs(model, images, {});
      for (size_t k = 0; k < outputs.size(); ++k) values.tensors[absl::StrCat("output/", k)] = outputs[k];
    }
    if (model.dtype() == at::kDouble) Train(model, images, values);
    Save(absl::StrCat(name, ".values.safetensors"), values);
  }

  // As it is, with its masks, and after removal.
  void WriteMaskedAndRemoved(const std::string& name, const Model& model) {
    Write(absl::StrCat(name, "_masked"), model);
    absl::StatusOr<CompressedModel> removed = CompressModel(model, {});
    PRUNELAB_CHECK(removed.ok()) << removed.status();
    Write(absl::StrCat(name, "_removed"), std::move(removed->model));
  }

 private:
  static void Train(Model& model, const at::Tensor& images, Safetensors& values) {
    ForwardOptions options;
    options.mode = Mode::kTrain;
    options.policy = GradientPolicy::kMasked;
    const std::vector<at::Tensor> outputs = Outputs(model, images, options);
    at::Tensor loss = at::zeros({}, model.dtype());
    for (size_t k = 0; k < outputs.size(); ++k) {
      const std::string name = absl::StrCat("factor/", k);
      values.tensors[name] = RandomTensor(outputs[k].sizes().vec(), name, model.dtype());
      loss = loss + (outputs[k] * values.tensors[name]).sum();
    }
    if (!loss.requires_grad()) return;  // no parameter is left
    loss.backward();
    for (const NamedTensor& parameter : model.parameters()) {
      const at::Tensor& gradient = parameter.tensor.grad();
      if (gradient.defined()) values.tensors[absl::StrCat("gradient/", parameter.name)] = gradient;
    }
    for (const NamedTensor& buffer : model.buffers())
      values.tensors[absl::StrCat("after/", buffer.name)] = buffer.tensor;
  }

  void Save(const std::string& name, const Safetensors& file) const {
    const absl::Status written = WriteSafetensors(absl::StrCat(folder_, "/", name), file);
    PRUNELAB_CHECK(written.ok()) << written;
  }

  const std::string folder_;
};

template <typename Parameters>
NetworkInfo Build(absl::StatusOr<Network> (*create)(const Parameters&, const ImageDefaults&), const std::string& text) {
  Parameters parameters;
  PRUNELAB_CHECK(google::protobuf::TextFormat::ParseFromString(text, &parameters)) << text;
  const absl::StatusOr<Network> network = create(parameters, {});
  PRUNELAB_CHECK(network.ok()) << network.status();
  return *NetworkInfo::Create(*network);
}

void WriteFamily(CaseWriter& writer, const std::string& name, const NetworkInfo& info) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Model model = RandomModel(info, dtype, 7);
    SetRandomMasks(model, MaskKind::kUniform, 2);
    absl::StatusOr<CompressedModel> removed = CompressModel(model, {});
    PRUNELAB_CHECK(removed.ok()) << removed.status();
    writer.Write(absl::StrCat(name, dtype == at::kFloat ? "_float32" : "_float64"), std::move(removed->model));
  }
}

void WriteQuantized(CaseWriter& writer) {
  Model model = RandomModel(Build(CreateResNetCifar, "depth: 20 width: 8 image_size: 16"), at::kDouble, 7);
  SetRandomMasks(model, MaskKind::kUniform, 2);
  WeightedNetwork network = *ToWeightedNetwork(model);
  QuantizeOptions options;
  options.activation_bits = 7;
  const absl::StatusOr<QuantizationReport> report =
      Quantize(network, {RandomTensor({8, 3, 16, 16}, "calibration", at::kDouble)}, options);
  PRUNELAB_CHECK(report.ok()) << report.status();
  writer.Write("quantized_float64", ToModel(network, at::kCPU));
}

void WriteCases(const std::string& folder) {
  CaseWriter writer(folder);
  WriteFamily(writer, "resnet56", Build(CreateResNetCifar, "depth: 56"));
  WriteFamily(writer, "resnet50", Build(CreateResNetImageNet, "depth: 50 image_size: 64"));
  WriteFamily(writer, "mobilenet_v2", Build(CreateMobileNetV2, "image_size: 64"));
  WriteFamily(writer, "densenet", Build(CreateDenseNet, "depth: 121 image_size: 64"));
  WriteFamily(writer, "regnet", Build(CreateRegNet, "variant: Y_400MF image_size: 64"));
  WriteQuantized(writer);
  constexpr uint64_t kNetworks = 150;
  constexpr uint64_t kMasks = std::size(kMaskKinds);
  for (uint64_t seed = 0; seed < kNetworks; ++seed) {
    Model model = RandomModel(*NetworkInfo::Create(RandomNetwork(seed)), at::kDouble, seed);
    SetRandomMasks(model, kMaskKinds[seed % kMasks], seed);
    writer.WriteMaskedAndRemoved(absl::StrCat("random", seed), model);
  }
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_cases FOLDER\n";
    return 2;
  }
  prunelab::WriteCases(argv[1]);
  return 0;
}
