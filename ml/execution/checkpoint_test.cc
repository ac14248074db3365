#include "ml/execution/checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/execution/plan.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Model MakeModel(uint64_t seed, at::ScalarType dtype = at::kFloat) {
  NetworkWriter net;
  net.Image(2, 5, 5);
  net.Conv("conv", "image", {3});
  net.BatchNorm("bn", "conv");
  net.Conv("conv2", "bn", {4});
  net.Flatten("flat", "conv2");
  net.Linear("fc", "flat", 3);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), dtype, at::kCPU);
  InitializeParameters(model, seed);
  return model;
}

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

TEST(CheckpointTest, ALoadedModelComputesTheSame) {
  Model model = MakeModel(1);
  model.SetMasks({{"conv", at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1})},
                  {"conv2", (at::arange(4 * 3 * 9).view({4, 3, 3, 3}) % 3 != 0).to(at::kFloat)}});
  const at::Tensor images = at::linspace(-1, 1, 100).view({2, 2, 5, 5});
  ReferencePlan plan;
  ForwardOptions train;
  train.mode = Mode::kTrain;
  plan.Forward(model, images, train);
  const std::string path = Temporary("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, ModelToSafetensors(model)).ok());
  absl::StatusOr<Model> loaded = LoadModel(path, at::kFloat, at::kCPU);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(plan.Forward(model, images, {}).logits, plan.Forward(*loaded, images, {}).logits));
  EXPECT_EQ(loaded->masks().at("conv").sizes(), at::IntArrayRef({3, 1, 1, 1}));  // a filter mask again
  EXPECT_EQ(loaded->masks().at("conv2").sizes(), at::IntArrayRef({4, 3, 3, 3}));
  EXPECT_EQ(loaded->Get("bn.num_batches_tracked").item<int64_t>(), 1);
}

TEST(CheckpointTest, TheFileHoldsMasksInTheWeightsShape) {
  Model model = MakeModel(1, at::kDouble);
  model.SetMasks({{"conv", at::tensor({1., 0., 1.}, at::kDouble).view({3, 1, 1, 1})}});
  const Safetensors file = ModelToSafetensors(model);
  EXPECT_EQ(file.tensors.at("conv.mask").sizes(), at::IntArrayRef({3, 2, 3, 3}));
  EXPECT_EQ(file.tensors.at("conv.mask").scalar_type(), at::kFloat);
  EXPECT_EQ(file.tensors.at("conv.mask").sum().item<double>(), 2 * 18);
  EXPECT_EQ(file.tensors.count("conv2.mask"), 0u);
}

// conv and fc with weights of 4 bits, and a grid between them.
Model QuantizedModel() {
  NetworkWriter net;
  net.Image(1, 3, 3);
  net.Conv("conv", "image", {2});
  net.Append("grid", {"conv"})->mutable_fake_quantize();
  net.Flatten("flat", "grid");
  net.Linear("fc", "flat", 2);
  Network network = net.Take();
  network.mutable_node(1)->mutable_conv2d()->set_weight_bits(4);
  network.mutable_node(4)->mutable_linear()->set_weight_bits(4);
  Model model = Model::Create(*NetworkInfo::Create(network), at::kFloat, at::kCPU);
  model.Get("conv.weight_scale").copy_(at::tensor({0.1f, 0.3f}));
  model.Get("conv.weight")
      .detach()
      .copy_((at::arange(18) % 15 - 7).view({2, 1, 3, 3}) * model.Get("conv.weight_scale").view({2, 1, 1, 1}));
  model.Get("fc.weight").detach().copy_(at::tensor({1.f, -2.f, 0.f, 7.f}).view({2, 2}));
  model.Get("grid.scale").fill_(0.01);
  model.Get("grid.zero_point").fill_(3);
  return model;
}

TEST(CheckpointTest, QuantizedWeightsAreStoredAsWholeNumbers) {
  Model model = QuantizedModel();
  const std::string path = Temporary("quantized.safetensors");
  const Safetensors file = ModelToSafetensors(model);
  EXPECT_EQ(file.tensors.at("conv.weight").scalar_type(), at::kChar);
  EXPECT_EQ(file.tensors.at("fc.weight").scalar_type(), at::kChar);
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    absl::StatusOr<Model> loaded = LoadModel(path, dtype, at::kCPU);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    for (const std::vector<NamedTensor>* tensors : {&model.parameters(), &model.buffers()}) {
      for (const NamedTensor& tensor : *tensors) {
        EXPECT_TRUE(at::equal(loaded->Get(tensor.name).to(at::kFloat), tensor.tensor)) << tensor.name;
      }
    }
  }
  // Weights between the whole numbers are not rounded.
  model.Get("conv.weight").detach()[1][0][2][2] += 0.05f;
  EXPECT_EQ(ModelToSafetensors(model).tensors.at("conv.weight").scalar_type(), at::kFloat);
}

TEST(CheckpointTest, GridsThatAreNoneAreRefused) {
  const Safetensors good = ModelToSafetensors(QuantizedModel());
  const NetworkInfo info = *StoredNetwork(good.metadata, "x");
  const auto refusal = [&](const char* tensor, const at::Tensor& value) {
    Safetensors bad = good;
    bad.tensors[tensor] = value;
    return std::string(TakeWeights(bad, "x", info, {}).status().message());
  };
  EXPECT_EQ(refusal("grid.scale", at::scalar_tensor(0.0f)), "x: grid.scale is 0; must be above 0");
  EXPECT_EQ(refusal("grid.zero_point", at::scalar_tensor(2.5f)),
            "x: grid.zero_point is 2.5; must be a whole number from 0 to 255");
  EXPECT_EQ(refusal("conv.weight_scale", at::tensor({0.1f, -1.0f})), "x: conv.weight_scale[1] is -1; must be above 0");
  // Whole numbers for a layer whose weights are any numbers.
  Network network = info.network();
  network.mutable_node(4)->mutable_linear()->clear_weight_bits();
  Safetensors bad = good;
  bad.tensors.erase("fc.weight_scale");
  EXPECT_THAT(TakeWeights(bad, "x", *NetworkInfo::Create(network), {}).status().message(),
              AllOf(HasSubstr("fc.weight is int8"), HasSubstr("must be a floating type")));
}

TEST(CheckpointTest, AMaskOfWeightsStaysOneThatLooksLikeOneOfFilters) {
  const at::Tensor filters = at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1});
  const at::Tensor as_weights = filters.expand({3, 2, 3, 3}).contiguous();
  const at::Tensor weights = (at::arange(4 * 3 * 9).view({4, 3, 3, 3}) % 3 != 0).to(at::kFloat);
  const at::Tensor nothing_left = at::zeros({4, 3, 3, 3});
  using Masks = std::map<std::string, at::Tensor>;
  struct Case {
    Masks masks;
    bool listed;  // in the metadata; the other files are as they always were
  };
  for (const auto& [masks, listed] : {Case{Masks{{"conv", filters}}, false}, Case{Masks{{"conv", as_weights}}, true},
                                      Case{Masks{{"conv", filters}, {"conv2", weights}}, true},
                                      Case{Masks{{"conv", as_weights}, {"conv2", weights}}, false},
                                      Case{Masks{{"conv", as_weights}, {"conv2", nothing_left}}, true},
                                      Case{Masks{{"conv", filters}, {"conv2", nothing_left}}, true}}) {
    Model model = MakeModel(1);
    model.SetMasks(masks);
    const Safetensors file = ModelToSafetensors(model);
    EXPECT_EQ(file.metadata.count("filter_masks") > 0, listed);
    const std::string path = Temporary("masks.safetensors");
    ASSERT_TRUE(WriteSafetensors(path, file).ok());
    const absl::StatusOr<Model> loaded = LoadModel(path, at::kFloat, at::kCPU);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_EQ(loaded->masks().size(), masks.size());
    for (const auto& [node, mask] : masks) EXPECT_TRUE(at::equal(loaded->masks().at(node), mask)) << node;
  }
}

TEST(CheckpointTest, AllDifferencesAreListedAndNothingIsLoaded) {
  Model model = MakeModel(1);
  const at::Tensor before = model.Get("conv.weight").detach().clone();
  Safetensors file = ModelToSafetensors(MakeModel(2));
  file.tensors.erase("bn.bias");
  file.tensors.erase("bn.num_batches_tracked");  // may be missing
  file.tensors["fc.weight"] = at::zeros({3, 5});
  file.tensors["head.weight"] = at::zeros({1});
  file.tensors["conv.mask"] = at::zeros({3, 1, 3, 3});
  file.tensors["conv2.mask"] = at::full({4, 1, 1, 1}, 0.5);
  const absl::Status status = LoadIntoModel(file, "w.safetensors", model);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("w.safetensors: does not fit the network, in 5 places"));
  EXPECT_THAT(message, HasSubstr("missing bn.bias [3]"));
  EXPECT_THAT(message, HasSubstr("fc.weight is [3, 5]; the network needs [3, 4]"));
  EXPECT_THAT(message, HasSubstr("unexpected head.weight [1]"));
  EXPECT_THAT(message, HasSubstr("conv.mask is [3, 1, 3, 3]; must be [3, 2, 3, 3] or [3, 1, 1, 1]"));
  EXPECT_THAT(message, HasSubstr("conv2.mask holds values other than 0 and 1"));
  EXPECT_TRUE(at::equal(model.Get("conv.weight"), before));
  EXPECT_TRUE(model.masks().empty());
}

// A small file may describe a network of a hundred terabytes; no memory is allocated for it.
TEST(CheckpointTest, ANetworkFarLargerThanTheFileIsRefusedBeforeItIsBuilt) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  file.metadata["network"] =
      "node { name: 'image' image { channels: 200000 } } "
      "node { name: 'conv' input: 'image' conv2d { out_channels: 200000 kernel_height: 32 kernel_width: 32 } } "
      "node { name: 'pool' input: 'conv' global_average_pool {} } node { name: 'flat' input: 'pool' flatten {} } "
      "node { name: 'fc' input: 'flat' linear { out_features: 1000000 } }";
  const std::string path = Temporary("large.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()),
              AllOf(HasSubstr("large.safetensors: does not fit the network"),
                    HasSubstr("the network needs [200000, 200000, 32, 32]")));
}

// Weights of a network (conv, bn, conv2, fc) under another file's names.
Safetensors Renamed(const Safetensors& file, const std::string& prefix) {
  Safetensors renamed;
  for (const auto& [name, tensor] : file.tensors) renamed.tensors[prefix + name] = tensor;
  return renamed;
}

WeightsOptions ToolOptions(const std::string& prefix = "") {
  WeightsOptions options;
  options.prefix = prefix;
  options.prefix_setting = "--strip_prefix=$0";
  options.ignored_setting = "--ignore='$0'";
  return options;
}

WeightsOptions ConfigOptions(const std::vector<std::string>& fresh) {
  WeightsOptions options;
  options.fresh = fresh;
  options.fresh_setting = "fresh_weights: \"$0\"";
  return options;
}

std::string TakeError(const Safetensors& file, const WeightsOptions& options = ToolOptions()) {
  return std::string(TakeWeights(file, "w.safetensors", MakeModel(1).info(), options).status().message());
}

TEST(TakeWeightsTest, OnlyFloatingTypesAreWeights) {
  const Safetensors good = ModelToSafetensors(MakeModel(1));
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    Safetensors file = good;
    file.tensors["conv.weight"] = good.tensors.at("conv.weight").to(type);
    EXPECT_EQ(TakeError(file), "");
  }
  const std::pair<at::ScalarType, const char*> others[] = {{at::kChar, "int8"},   {at::kByte, "uint8"},
                                                           {at::kShort, "int16"}, {at::kInt, "int32"},
                                                           {at::kLong, "int64"},  {at::kBool, "bool"}};
  for (const auto& [type, name] : others) {
    Safetensors file = good;
    file.tensors["bn.running_mean"] = good.tensors.at("bn.running_mean").to(type);
    const std::string message = TakeError(file);
    EXPECT_THAT(message, HasSubstr(absl::StrCat("w.safetensors: does not fit the network, in 1 place:\n  "
                                                "bn.running_mean is ",
                                                name, "; must be a floating type (float16,")));
    EXPECT_EQ(absl::StrContains(message, "scale * (q - zero_point)"), type != at::kBool) << message;
  }
  Safetensors file = good;
  file.tensors.erase("conv.weight");
  file.tensors.erase("bn.num_batches_tracked");
  file.passed_over["conv.weight"] = {at::ScalarType::Undefined, "U16", {3, 2, 3, 3}, 0, 0};
  file.passed_over["bn.num_batches_tracked"] = {at::ScalarType::Undefined, "U64", {}, 0, 0};
  EXPECT_THAT(TakeError(file), AllOf(HasSubstr("in 1 place:"), HasSubstr("conv.weight is U16; must be a floating")));
}

// A tensor with a type that is not read does no harm if it is not a weight.
TEST(TakeWeightsTest, OtherTypesArePassedOver) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  file.passed_over["ema.counter"] = {at::ScalarType::Undefined, "U16", {1}, 0, 0};
  const absl::StatusOr<Weights> weights = TakeWeights(file, "w", MakeModel(1).info(), {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->notes, ElementsAre("w: ema.counter is U16, which is not read here; it is passed over"));
}

TEST(TakeWeightsTest, ValuesThatNothingCanBeComputedWith) {
  const Safetensors good = ModelToSafetensors(MakeModel(1));
  const struct {
    const char* name;
    int64_t at;
    double value;
    const char* message;
  } cases[] = {
      {"bn.running_var", 2, -0.5, "w.safetensors: bn.running_var[2] is -0.5; must be at least 0"},
      {"bn.running_var", 0, std::nan(""), "w.safetensors: bn.running_var[0] is nan; must be finite in float32"},
      {"conv.weight", 22, INFINITY, "w.safetensors: conv.weight[1, 0, 1, 1] is inf; must be finite in float32"},
      {"fc.bias", 1, -INFINITY, "w.safetensors: fc.bias[1] is -inf; must be finite in float32"},
      {"fc.weight", 5, 1e300, "w.safetensors: fc.weight[1, 1] is 1e+300; must be finite in float32"},
  };
  for (const auto& c : cases) {
    Safetensors file = good;
    at::Tensor values = good.tensors.at(c.name).detach().to(at::kDouble).contiguous().clone();
    values.view(-1)[c.at] = c.value;
    file.tensors[c.name] = values;
    EXPECT_EQ(TakeError(file), c.message);
    const std::string path = Temporary("bad_values.safetensors");
    ASSERT_TRUE(WriteSafetensors(path, file).ok());
    EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()),
                HasSubstr(std::string(c.message).substr(strlen("w.safetensors"))));
  }
  Safetensors file = good;
  file.tensors["bn.running_mean"] = at::full({3}, NAN);
  file.tensors["bn.running_var"] = at::full({3}, -1.);
  EXPECT_EQ(TakeError(file),
            "w.safetensors: holds values that no network can compute with, in 2 tensors:\n"
            "  bn.running_mean[0] is nan; must be finite in float32 (and 2 more of it)\n"
            "  bn.running_var[0] is -1; must be at least 0 (and 2 more of it)");
  file = good;
  file.tensors["bn.running_var"] = at::zeros({3});  // of a channel that never varies
  EXPECT_EQ(TakeError(file), "");
}

TEST(TakeWeightsTest, APrefixIsNamedInOneLineAndTakenOff) {
  const Model model = MakeModel(1);
  const Safetensors good = ModelToSafetensors(model);
  const std::pair<const char*, const char*> prefixes[] = {
      {"module.",
       "begin with \"module.\", as DataParallel makes them; take it off by --strip_prefix=module., or save "
       "model.module.state_dict()"},
      {"_orig_mod.", "as torch.compile makes them; take it off by --strip_prefix=_orig_mod., or save"},
      {"module._orig_mod.",
       "as DataParallel and torch.compile make them; take it off by "
       "--strip_prefix=module._orig_mod., or save model.module._orig_mod.state_dict()"},
      {"model.", "save model.model.state_dict()"},
      {"state_dict.", "save checkpoint[\"state_dict\"] alone"},
      {"nets.student.", "take it off by --strip_prefix=nets.student., or save model.nets.student.state_dict()"},
      {"backbone_", "take it off by --strip_prefix=backbone_, or"},
  };
  for (const auto& [prefix, message] : prefixes) {
    for (const bool with_others : {false, true}) {
      Safetensors file = Renamed(good, prefix);
      if (with_others) {
        file.tensors["epoch"] = at::tensor(3);
        file.tensors["optimizer.lr"] = at::tensor(0.1);
        file.passed_over["step"] = {at::ScalarType::Undefined, "U64", {}, 0, 0};
      }
      const std::string refused = TakeError(file);
      EXPECT_THAT(refused, AllOf(HasSubstr(absl::StrCat("w.safetensors: 9 of its ", with_others ? 12 : 9, " names")),
                                 HasSubstr(message), Not(HasSubstr("\n"))));
      for (const std::string& asked : {std::string("auto"), std::string(prefix)}) {
        const absl::StatusOr<Weights> weights = TakeWeights(file, "w", model.info(), ToolOptions(asked));
        ASSERT_TRUE(weights.ok()) << weights.status();
        EXPECT_EQ(weights->file.tensors.size(), good.tensors.size());
        for (const auto& [name, tensor] : good.tensors) {
          EXPECT_TRUE(at::equal(weights->file.tensors.at(name), tensor)) << name;
        }
        EXPECT_THAT(weights->notes,
                    ElementsAre(absl::StrCat("w: \"", prefix, "\" is taken off its names",
                                             with_others ? "; what does not begin with it is passed over: epoch, "
                                                           "optimizer.lr, step"
                                                         : "")));
      }
    }
  }
  // The prefix also works without its dot; one that does not occur is refused.
  EXPECT_TRUE(TakeWeights(Renamed(good, "module."), "w", model.info(), ToolOptions("module")).ok());
  EXPECT_THAT(TakeError(Renamed(good, "module."), ToolOptions("modul.")),
              AllOf(HasSubstr("none of its names begins with \"modul.\", as --strip_prefix=modul. says"),
                    HasSubstr("module.bn.bias")));
  // "auto" is not an error if there is no prefix.
  EXPECT_TRUE(TakeWeights(good, "w", model.info(), ToolOptions("auto")).ok());
}

// Two networks in one file, and nothing says which one is meant.
TEST(TakeWeightsTest, OfTwoPrefixesAPersonChooses) {
  const Model first = MakeModel(1), second = MakeModel(2);
  Safetensors file = Renamed(ModelToSafetensors(first), "encoder_q.");
  for (const auto& [name, tensor] : ModelToSafetensors(second).tensors) file.tensors["encoder_k." + name] = tensor;
  for (const char* asked : {"", "auto"}) {
    EXPECT_EQ(TakeError(file, ToolOptions(asked)),
              "w.safetensors: 9 of its 18 names begin with \"encoder_k.\", and 9 with \"encoder_q.\"; choose one by "
              "--strip_prefix=encoder_k. or --strip_prefix=encoder_q.");
  }
  const absl::StatusOr<Weights> weights = TakeWeights(file, "w", first.info(), ToolOptions("encoder_k."));
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(at::equal(weights->file.tensors.at("fc.weight"), second.Get("fc.weight")));
}

// The names of torch.nn.utils.prune and torch.ao.pruning, possibly with a prefix. Masks are kept where the network can
// have them, and multiplied in elsewhere.
TEST(TakeWeightsTest, MasksOfTorchsPruning) {
  const Model model = MakeModel(1);
  const Safetensors good = ModelToSafetensors(model);
  const at::Tensor conv = (at::arange(54).view({3, 2, 3, 3}) % 4 != 0).to(at::kFloat);
  const at::Tensor conv2 = at::tensor({1, 0, 1, 1}).to(at::kBool).view({4, 1, 1, 1}).expand({4, 3, 3, 3}).contiguous();
  const at::Tensor fc = (at::arange(12).view({3, 4}) % 2).to(at::kFloat), bias = at::tensor({1., 0., 1.});
  for (const std::string prefix : {"", "module."}) {
    Safetensors file = Renamed(good, prefix);
    const auto replace = [&](const std::string& name, const std::string& raw, const std::string& mask,
                             const at::Tensor& values) {
      file.tensors[prefix + raw] = file.tensors.at(prefix + name);
      file.tensors[prefix + mask] = values;
      file.tensors.erase(prefix + name);
    };
    replace("conv.weight", "conv.weight_orig", "conv.weight_mask", conv);
    replace("conv2.weight", "conv2.parametrizations.weight.original", "conv2.parametrizations.weight.0.mask", conv2);
    replace("fc.weight", "fc.weight_orig", "fc.weight_mask", fc);
    replace("fc.bias", "fc.bias_orig", "fc.bias_mask", bias);
    std::vector<std::string> notes;
    const absl::StatusOr<Model> loaded =
        ModelOf(file, "w", model.info(), ToolOptions("auto"), at::kFloat, at::kCPU, &notes);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(at::equal(loaded->Get("conv.weight"), model.Get("conv.weight")));  // masked weights keep their values
    EXPECT_TRUE(at::equal(loaded->masks().at("conv"), conv));
    // One network, one way of masking: those of conv are of weights.
    EXPECT_TRUE(at::equal(loaded->masks().at("conv2"), conv2.to(at::kFloat)));
    EXPECT_TRUE(at::equal(loaded->Get("fc.weight"), model.Get("fc.weight") * fc));
    EXPECT_TRUE(at::equal(loaded->Get("fc.bias"), model.Get("fc.bias") * bias));
    EXPECT_THAT(notes[0], HasSubstr("are taken as masks: of " + prefix + "conv.weight, " + prefix + "conv2.weight"));
    EXPECT_THAT(notes[1], HasSubstr("are multiplied in"));
    EXPECT_THAT(notes[1], HasSubstr("of " + prefix + "fc.bias, " + prefix + "fc.weight"));
  }
}

TEST(TakeWeightsTest, WeightsThatAreReparametrizedWithoutAMask) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  file.tensors["conv.weight_orig"] = file.tensors.at("conv.weight");  // spectral_norm's
  file.tensors["conv.weight_u"] = at::ones({3});
  file.tensors.erase("conv.weight");
  EXPECT_THAT(TakeError(file), AllOf(HasSubstr("unexpected conv.weight_orig"), HasSubstr("remove_spectral_norm")));
  file = ModelToSafetensors(MakeModel(1));
  file.tensors["conv.weight_orig"] = file.tensors.at("conv.weight");
  file.tensors["conv.weight_mask"] = at::full({3, 2, 3, 3}, 0.5);
  file.tensors.erase("conv.weight");
  EXPECT_THAT(TakeError(file), HasSubstr("conv.mask holds values other than 0 and 1"));
  file.tensors["fc.bias_mask"] = at::ones({2});
  file.tensors["fc.bias_orig"] = file.tensors.at("fc.bias");
  file.tensors.erase("fc.bias");
  EXPECT_EQ(TakeError(file), "w.safetensors: fc.bias_mask is [2]; must be [3], as fc.bias_orig");
}

TEST(TakeWeightsTest, WhatAProfilerLeftIsPassedOver) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  for (const char* name : {"total_ops", "conv.total_ops", "conv.total_params", "fc.total_params"}) {
    file.tensors[name] = at::zeros({1}, at::kDouble);
  }
  const absl::StatusOr<Weights> weights = TakeWeights(file, "w", MakeModel(1).info(), {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->notes, ElementsAre("w: what the profiler thop has left in it is passed over: conv.total_ops, "
                                          "conv.total_params, fc.total_params, total_ops"));
}

TEST(TakeWeightsTest, WhatIsPassedOverAnywayMayBeIgnoredByName) {
  Safetensors file;
  for (const auto& [name, tensor] : ModelToSafetensors(MakeModel(1)).tensors) file.tensors["module." + name] = tensor;
  file.tensors["module.conv.total_ops"] = at::zeros({1}, at::kDouble);
  file.tensors["optimizer.step"] = at::tensor(3);
  WeightsOptions options = ToolOptions();
  options.prefix = "module.";
  options.ignored = {"*total_ops", "optimizer.*"};
  EXPECT_TRUE(TakeWeights(file, "w", MakeModel(1).info(), options).ok());
  options.ignored = {"*total_params"};
  EXPECT_THAT(TakeWeights(file, "w", MakeModel(1).info(), options).status().message(),
              HasSubstr("matches no tensor of the file"));
}

TEST(TakeWeightsTest, OtherTensorsArePassedOverWhereThatIsAsked) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  file.tensors["epoch"] = at::tensor(3);
  file.tensors["ema.fc.weight"] = at::zeros({3, 4});
  file.tensors["ema.conv.weight"] = at::zeros({3, 2, 3, 3});
  EXPECT_THAT(TakeError(file), AllOf(HasSubstr("in 3 places:"), HasSubstr("unexpected epoch [1]"),
                                     HasSubstr("\nTo pass over what is not the network's: --ignore='ema.*,epoch'")));
  WeightsOptions options = ToolOptions();
  options.ignored = {"ema.*,epoch"};
  const absl::StatusOr<Weights> weights = TakeWeights(file, "w", MakeModel(1).info(), options);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(weights->fresh.empty());
  options.ignored = {"emma.*"};
  EXPECT_THAT(TakeError(file, options),
              HasSubstr("w.safetensors: --ignore='emma.*' matches no tensor of the file; the file has bn.bias, "));
  options.ignored = {"fc.*", "ema.*,epoch"};  // the network cannot do without
  EXPECT_THAT(TakeError(file, options), HasSubstr("missing fc.weight [3, 4]"));
}

TEST(TakeWeightsTest, AHeadIsLeftFresh) {
  const Model model = MakeModel(1);
  Safetensors other_head = ModelToSafetensors(MakeModel(2)), no_head = other_head, other_name = other_head;
  other_head.tensors["fc.weight"] = at::zeros({1000, 4});
  other_head.tensors["fc.bias"] = at::zeros({1000});
  for (const char* name : {"fc.weight", "fc.bias"}) {
    no_head.tensors.erase(name);
    other_name.tensors.erase(name);
  }
  other_name.tensors["head.1.weight"] = at::zeros({1000, 4});
  const std::pair<Safetensors, std::string> cases[] = {
      {other_head, "fc.*"}, {no_head, "fc.*"}, {other_name, "fc.*,head.*"}};
  for (const auto& [file, globs] : cases) {
    EXPECT_THAT(TakeError(file, ConfigOptions({})),
                HasSubstr(absl::StrCat("\nTo start with these afresh, and pass over what the file has of them: "
                                       "fresh_weights: \"",
                                       globs, "\"")));
    const absl::StatusOr<Weights> weights = TakeWeights(file, "w", model.info(), ConfigOptions({globs}));
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_THAT(weights->fresh, ElementsAre("fc.weight", "fc.bias"));
    EXPECT_EQ(weights->file.tensors.size(), 7u);  // conv, bn's five, conv2: what has its name in the network
    EXPECT_EQ(weights->file.tensors.count("fc.weight"), 0u);
  }
  EXPECT_THAT(TakeError(other_head, ConfigOptions({"fc.*", "head.*"})),
              HasSubstr("fresh_weights: \"head.*\" matches no tensor of the network or of the file"));
}

// A mask applies to old weights; it says nothing about fresh ones.
TEST(TakeWeightsTest, AMaskGoesWithItsWeight) {
  Model model = MakeModel(1);
  model.SetMasks({{"conv", at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1})},
                  {"conv2", at::tensor({1.f, 0.f, 1.f, 0.f}).view({4, 1, 1, 1})}});
  for (const std::string glob : {"conv.*", "conv.weight"}) {
    const absl::StatusOr<Weights> weights =
        TakeWeights(ModelToSafetensors(model), "w", model.info(), ConfigOptions({glob}));
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_THAT(weights->fresh, ElementsAre("conv.weight"));
    EXPECT_EQ(weights->file.tensors.count("conv.mask"), 0u);
    EXPECT_EQ(weights->file.tensors.count("conv2.mask"), 1u);
  }
}

TEST(TakeWeightsTest, AnotherLayoutIsRecognised) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  file.tensors["conv.weight"] = file.tensors.at("conv.weight").permute({2, 3, 1, 0});
  file.tensors["fc.weight"] = file.tensors.at("fc.weight").t();
  EXPECT_THAT(TakeError(file),
              AllOf(HasSubstr("conv.weight is [3, 3, 2, 3]; the network needs [3, 2, 3, 3]; TensorFlow's layout? "
                              "permute(3, 2, 0, 1) makes it PyTorch's"),
                    HasSubstr("fc.weight is [4, 3]; the network needs [3, 4]; transposed? turn it by .t()")));
}

// A run's checkpoint: the network's tensors, masks under their own names, and what else training needs.
// As torchvision stores ConvNeXt's blocks.
TEST(TakeWeightsTest, OtherFormsOfTheSameNumbers) {
  NetworkWriter net;
  net.Conv("block.3", net.Image(2, 4, 4), {3, 1, 1, 0});
  net.Append("layer_scale", {"block.3"})->mutable_channel_scale();
  net.Classifier("fc", "layer_scale", 5);
  const NetworkInfo info = *NetworkInfo::Create(net.Take());
  Safetensors file;
  file.tensors["module.block.3.weight"] = at::arange(6, at::kFloat).view({3, 2});
  file.tensors["module.layer_scale"] = at::arange(3, at::kFloat).view({3, 1, 1});
  file.tensors["module.fc.weight"] = at::ones({5, 3});
  file.tensors["module.fc.bias"] = at::ones({5});
  const absl::StatusOr<Weights> weights = TakeWeights(file, "w.safetensors", info, ToolOptions("auto"));
  ASSERT_TRUE(weights.ok()) << weights.status();
  const std::map<std::string, at::Tensor>& tensors = weights->file.tensors;
  EXPECT_TRUE(at::equal(tensors.at("block.3.weight"), at::arange(6, at::kFloat).view({3, 2, 1, 1})));
  EXPECT_TRUE(at::equal(tensors.at("layer_scale.weight"), at::arange(3, at::kFloat)));
  EXPECT_EQ(tensors.count("layer_scale"), 0u);
  EXPECT_THAT(weights->notes.back(), HasSubstr("block.3.weight [3, 2], layer_scale [3, 1, 1]"));
  // Other shapes stay errors.
  file.tensors["module.block.3.weight"] = at::zeros({2, 3});
  file.tensors["module.layer_scale"] = at::zeros({1, 3});
  EXPECT_THAT(std::string(TakeWeights(file, "w.safetensors", info, ToolOptions("auto")).status().message()),
              AllOf(HasSubstr("block.3.weight is [2, 3]; the network needs [3, 2, 1, 1]"),
                    HasSubstr("missing layer_scale.weight [3]"), HasSubstr("unexpected layer_scale [1, 3]")));
}

TEST(TakeWeightsTest, AStateOfATrainingIsItsNetwork) {
  const Model model = MakeModel(1);
  Safetensors state = ModelToSafetensors(model);
  state.tensors["mask/conv"] = at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1});
  state.tensors["momentum/conv.weight"] = at::zeros({3, 2, 3, 3});
  state.tensors["gradient/conv"] = at::zeros({3, 2, 3, 3});
  state.tensors["strategy/scores"] = at::zeros({3});
  state.tensors["rewind/1/conv.weight"] = at::zeros({3, 2, 3, 3});
  state.tensors["training/sums"] = at::zeros({4}, at::kDouble);
  state.tensors["training/position"] = at::zeros({8}, at::kLong);
  const std::string path = Temporary("checkpoint.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, state).ok());
  const absl::StatusOr<Model> loaded = LoadModel(path, at::kFloat, at::kCPU);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(loaded->Get("conv.weight"), model.Get("conv.weight")));
  EXPECT_TRUE(at::equal(loaded->masks().at("conv"), state.tensors.at("mask/conv")));
  state.tensors["mask/conv"] = at::ones({3, 2, 3, 3});  // of weights, as its shape says
  ASSERT_TRUE(WriteSafetensors(path, state).ok());
  EXPECT_TRUE(at::equal(LoadModel(path, at::kFloat, at::kCPU)->masks().at("conv"), state.tensors.at("mask/conv")));
  state.tensors.erase("training/position");
  ASSERT_TRUE(WriteSafetensors(path, state).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()),
              HasSubstr("unexpected momentum/conv.weight"));
}

TEST(CheckpointTest, AFileWithoutOrWithABadNetworkIsRefused) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  const std::string path = Temporary("bad.safetensors");
  file.metadata["network"] = "node { name: 'x' input: 'x' relu {} }";
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()),
              HasSubstr("bad.safetensors: network: node \"x\""));
  file.metadata.clear();
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()), HasSubstr("carries no network"));
}

}  // namespace
}  // namespace prunelab
