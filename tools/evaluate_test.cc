// Runs //tools:evaluate as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/models/testing/torchvision_formula.h"
#include "ml/models/testing/torchvision_values.h"
#include "ml/network/network.h"
#include "ml/network/network_writer.h"
#include "ml/safetensors/safetensors.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kEvaluate[] = "tools/evaluate";

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

std::string Write(const std::string& name, const Safetensors& file) {
  const std::string path = Temporary(name);
  EXPECT_TRUE(WriteSafetensors(path, file).ok());
  return path;
}

std::string WriteTensor(const std::string& file_name, const std::string& name, const at::Tensor& tensor) {
  Safetensors file;
  file.tensors[name] = tensor;
  return Write(file_name, file);
}

// Two 1x1 convolutions' worth of network: logit k of an image is the mean of channel k.
Model Means(int64_t channels, int64_t size) {
  NetworkWriter net;
  const std::string x = net.Image(channels, size, size);
  net.Classifier("fc", net.Conv("conv", x, {channels, 1, 1, 0}), channels);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  model.Get("conv.weight").detach().copy_(at::eye(channels).view({channels, channels, 1, 1}));
  model.Get("fc.weight").detach().copy_(at::eye(channels));
  return model;
}

// A state_dict of torchvision, as torch.save_file would write it, gives torchvision's logits.
TEST(EvaluateTest, LogitsOfTorchvisionsResNets) {
  int compared = 0;
  for (const PublicNetwork& wanted : PublicNetworks()) {
    const std::string name = wanted.name;
    if (name != "resnet18" && name != "resnet50") continue;
    Safetensors state;
    for (const std::string& line : name == "resnet18" ? ResNet18State() : ResNet50State()) {
      // "layer1.0.conv1.weight [64, 64, 3, 3]"
      const size_t space = line.find(' ');
      std::vector<int64_t> shape;
      for (size_t at = space + 2; line[at] != ']' && line[at] != '\0'; at = line.find_first_of(" ]", at) + 1) {
        shape.push_back(std::atoll(&line[at]));
        if (line[line.find_first_of(",]", at)] == ']') break;
      }
      const at::Tensor tensor = FormulaTensor(line.substr(0, space), shape);
      state.tensors[line.substr(0, space)] = tensor.scalar_type() == at::kDouble ? tensor.to(at::kFloat) : tensor;
    }
    state.metadata["format"] = "pt";
    const std::string weights = Write("state.safetensors", state);
    const std::string images =
        WriteTensor("images.safetensors", "images", FormulaImages(wanted.image_size).to(at::kFloat));
    const std::string output = Temporary("logits.safetensors");
    const ProgramResult result = RunProgram(
        kEvaluate, {"--checkpoint=" + weights, "--input=" + images, "--output=" + output, "--batch_size=1",
                    absl::StrCat("--network=[type.googleapis.com/", wanted.type, "] { ", wanted.parameters, " }")});
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("logits (2, 1000)"));
    const at::Tensor logits = ReadSafetensors(output)->tensors.at("logits");
    ASSERT_EQ(logits.sizes(), at::IntArrayRef({2, 1000}));
    EXPECT_EQ(logits.scalar_type(), at::kFloat);
    for (int64_t image = 0; image < 2; ++image) {
      const LogitsSummary found = Summarize(logits[image]);
      for (size_t i = 0; i < found.values.size(); ++i) {
        EXPECT_NEAR(found.values[i], wanted.logits[image][i], 1e-4 * found.scales[i])
            << name << " " << image << " " << i;
      }
    }
    ++compared;
  }
  EXPECT_EQ(compared, 2);
}

TEST(EvaluateTest, LogitsByHandWithAMask) {
  Model model = Means(3, 2);
  model.SetMasks({{"conv", at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1})}});
  const std::string weights = Write("means.safetensors", ModelToSafetensors(model));
  const std::string images = WriteTensor("images.safetensors", "images", at::arange(24, at::kFloat).view({2, 3, 2, 2}));
  const std::string output = Temporary("logits.safetensors");
  const ProgramResult result =
      RunProgram(kEvaluate, {"--checkpoint=" + weights, "--input=" + images, "--output=" + output});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(at::equal(ReadSafetensors(output)->tensors.at("logits"),
                        at::tensor({1.5f, 0.f, 9.5f, 13.5f, 0.f, 21.5f}).view({2, 3})));
}

// The mean of 1, 1, 1 and 1 + 2^-22 is 1 + 2^-24, which float32 rounds to 1. Masks go along.
TEST(EvaluateTest, LogitsInFloat64) {
  Model model = Means(3, 2);
  model.SetMasks({{"conv", at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1})}});
  const std::string weights = Write("means.safetensors", ModelToSafetensors(model));
  at::Tensor pixels = at::ones({1, 3, 2, 2});
  pixels[0][2][1][1] += std::ldexp(1.f, -22);
  const std::string images = WriteTensor("images.safetensors", "images", pixels);
  const std::string output = Temporary("logits.safetensors");
  const std::vector<std::string> arguments = {"--checkpoint=" + weights, "--input=" + images, "--output=" + output};
  for (const bool wide : {false, true}) {
    std::vector<std::string> all = arguments;
    if (wide) all.push_back("--dtype=float64");
    const ProgramResult result = RunProgram(kEvaluate, all);
    ASSERT_EQ(result.status, 0) << result.err;
    const at::Tensor logits = ReadSafetensors(output)->tensors.at("logits");
    EXPECT_EQ(logits.scalar_type(), wide ? at::kDouble : at::kFloat);
    EXPECT_EQ(logits[0][0].item<double>(), 1);
    EXPECT_EQ(logits[0][1].item<double>(), 0);
    EXPECT_EQ(logits[0][2].item<double>(), wide ? 1 + std::ldexp(1., -24) : 1);
  }
  std::vector<std::string> wrong = arguments;
  wrong.push_back("--dtype=double");
  EXPECT_EQ(RunProgram(kEvaluate, wrong).err, "--dtype=double: must be float32 or float64\n");
  const ProgramResult data = RunProgram(
      kEvaluate, {"--checkpoint=" + weights, "--dataset=[type.googleapis.com/prunelab.Digits] {}", "--dtype=float64"});
  EXPECT_EQ(data.status, 2);
  EXPECT_EQ(data.err, "--dtype goes with --input; a data set is evaluated in float32\n");
}

// As DataParallel writes them, with an additional counter: refused in one line that says how to read them, and then the
// same.
TEST(EvaluateTest, WeightsUnderAPrefix) {
  const Safetensors plain = ModelToSafetensors(Means(3, 2));
  Safetensors file;
  file.metadata = plain.metadata;
  for (const auto& [name, tensor] : plain.tensors) file.tensors["module." + name] = tensor;
  file.tensors["epoch"] = at::tensor(7);
  const std::string weights = Write("module.safetensors", file), output = Temporary("logits.safetensors");
  const std::string images = WriteTensor("images.safetensors", "images", at::arange(24, at::kFloat).view({2, 3, 2, 2}));
  std::vector<std::string> arguments = {"--checkpoint=" + weights, "--input=" + images, "--output=" + output};
  ProgramResult result = RunProgram(kEvaluate, arguments);
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.err, weights +
                            ": 3 of its 4 names begin with \"module.\", as DataParallel makes them; take it off by "
                            "--strip_prefix=module., or save model.module.state_dict()\n");
  for (const char* prefix : {"auto", "module."}) {
    arguments.resize(3);
    arguments.push_back(std::string("--strip_prefix=") + prefix);
    result = RunProgram(kEvaluate, arguments);
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, weights +
                              ": \"module.\" is taken off its names; what does not begin with it is passed over: "
                              "epoch\n");
    EXPECT_TRUE(at::equal(ReadSafetensors(output)->tensors.at("logits"),
                          at::tensor({1.5f, 5.5f, 9.5f, 13.5f, 17.5f, 21.5f}).view({2, 3})));
  }
  file = plain;
  file.tensors["epoch"] = at::tensor(7);
  arguments = {"--checkpoint=" + Write("epoch.safetensors", file), "--input=" + images, "--output=" + output};
  result = RunProgram(kEvaluate, arguments);
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("To pass over what is not the network's: --ignore='epoch'"));
  arguments.push_back("--ignore=epoch");
  EXPECT_EQ(RunProgram(kEvaluate, arguments).status, 0);
}

// Images whose brightest channel is their label, except for one of four in the test data.
TEST(EvaluateTest, AccuracyAndLossOnADataSet) {
  const std::string weights = Write("means.safetensors", ModelToSafetensors(Means(6, 2)));
  const auto images = [](const std::vector<int64_t>& brightest) {
    at::Tensor pixels = at::zeros({static_cast<int64_t>(brightest.size()), 6, 2, 2});
    for (size_t i = 0; i < brightest.size(); ++i) pixels[i][brightest[i]].fill_(1);
    return pixels;
  };
  Safetensors data;
  data.tensors["train_images"] = images({0, 1, 2, 3, 4, 5});
  data.tensors["train_labels"] = at::arange(6);
  data.tensors["test_images"] = images({3, 1, 0, 0});
  data.tensors["test_labels"] = at::tensor({3, 1, 0, 5}, at::kLong);
  const std::string path = Write("data.safetensors", data);
  const std::string dataset = "--dataset=[type.googleapis.com/prunelab.SafetensorsDataset] { path: '" + path + "' }";
  ProgramResult result = RunProgram(kEvaluate, {"--checkpoint=" + weights, dataset, "--batch_size=3"});
  ASSERT_EQ(result.status, 0) << result.err;
  // -log softmax is log(5 + e) - 1 where the prediction is right, and log(5 + e) where it is wrong: 2.043591 - 3/4. The
  // wrong image's label comes last among equals, after five others, so it is not among the first five.
  EXPECT_EQ(result.out,
            "prunelab.SafetensorsDataset, test: 4 images\ntop-1  75.0000 %\ntop-5  75.0000 %\nloss   1.293592\n");
  result = RunProgram(kEvaluate, {"--checkpoint=" + weights, dataset, "--split=train"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("train: 6 images"), HasSubstr("top-1  100.0000 %")));
}

// Weights are finite, and so are the images; a product of them is not.
TEST(EvaluateTest, LogitsThatAreNotFiniteCountNothing) {
  Model model = Means(3, 2);
  model.Get("conv.weight").detach().mul_(1e38f);
  model.Get("fc.weight").detach().mul_(1e38f);
  const std::string weights = Write("large.safetensors", ModelToSafetensors(model));
  at::Tensor pixels = at::zeros({4, 3, 2, 2});
  pixels[1][2].fill_(1);
  pixels[3].fill_(1);
  Safetensors data;
  data.tensors["train_images"] = at::zeros({3, 3, 2, 2});
  data.tensors["train_labels"] = at::arange(3);
  data.tensors["test_images"] = pixels;
  data.tensors["test_labels"] = at::zeros({4}, at::kLong);
  const std::string dataset = "--dataset=[type.googleapis.com/prunelab.SafetensorsDataset] { path: '" +
                              Write("lost_data.safetensors", data) + "' }";
  ProgramResult result = RunProgram(kEvaluate, {"--checkpoint=" + weights, dataset, "--batch_size=3"});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(HasSubstr("large.safetensors: the logits of 2 of 4 images are not finite"),
                                HasSubstr("SafetensorsDataset, test")));
  result = RunProgram(kEvaluate, {"--checkpoint=" + weights, dataset, "--split=train"});
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string output = Temporary("lost.safetensors");
  result = RunProgram(kEvaluate,
                      {"--checkpoint=" + weights, "--input=" + WriteTensor("lost_images.safetensors", "images", pixels),
                       "--output=" + output});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("the logits of 2 of 4 images are not finite; nothing is written"));
  EXPECT_FALSE(ReadSafetensors(output).ok());
}

TEST(EvaluateTest, ImagesWithTheirChannelsLastSayHowToTransposeThem) {
  const std::string weights = Write("means8.safetensors", ModelToSafetensors(Means(3, 8)));
  const std::string images = WriteTensor("last.safetensors", "images", at::zeros({2, 8, 8, 3}));
  const std::string output = "--output=" + Temporary("last_logits.safetensors");
  ProgramResult result = RunProgram(kEvaluate, {"--checkpoint=" + weights, "--input=" + images, output});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("`images` are 8x8x3; the network takes 3x8x8"),
                    HasSubstr("[8, 8, 3] looks like height, width, channels; transpose the images to [N, 3, "
                              "8, 8], in numpy numpy.ascontiguousarray(images.transpose(0, 3, 1, 2))")));
  // If --network takes its sizes from the images, the weights do not fit.
  Safetensors state;
  state.tensors["conv1.weight"] = at::zeros({16, 3, 3, 3});
  result = RunProgram(kEvaluate, {"--checkpoint=" + Write("rgb.safetensors", state), "--input=" + images, output,
                                  "--network=[type.googleapis.com/prunelab.ResNetCifar] { depth: 8 classes: 10 }"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("looks like height, width, channels"));
  // Other images that do not fit get no such hint.
  result = RunProgram(kEvaluate,
                      {"--checkpoint=" + weights,
                       "--input=" + WriteTensor("other8.safetensors", "images", at::zeros({2, 1, 8, 8})), output});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.err.find("looks like"), std::string::npos) << result.err;
}

TEST(EvaluateTest, SizesThatTheNetworkLeavesUnsetAreTheData) {
  // ResNet-8 for the digits: 1x8x8, ten classes. Without the checkpoint's own network the weights do not tell the image
  // size.
  const ProgramResult result =
      RunProgram(kEvaluate, {"--checkpoint=" + Write("none.safetensors", Safetensors()),
                             "--dataset=[type.googleapis.com/prunelab.Digits] {}",
                             "--network=[type.googleapis.com/prunelab.ResNetCifar] { depth: 8 }"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("missing conv1.weight [16, 1, 3, 3]"), HasSubstr("missing fc.bias [10]")));
}

TEST(EvaluateTest, WhatCannotBePrintedIsSaid) {
  const std::string weights = Write("means.safetensors", ModelToSafetensors(Means(3, 2)));
  ProgramSetting full;
  full.standard_output = "/dev/full";
  const ProgramResult result = RunProgram(
      kEvaluate,
      {"--checkpoint=" + weights, "--input=" + WriteTensor("images.safetensors", "images", at::zeros({2, 3, 2, 2})),
       "--output=" + Temporary("logits.safetensors")},
      full);
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "standard output cannot be written: No space left on device; what was printed is incomplete\n");
}

TEST(EvaluateTest, BadInput) {
  const std::string weights = Write("means.safetensors", ModelToSafetensors(Means(3, 2)));
  const std::string images = WriteTensor("images.safetensors", "images", at::zeros({2, 3, 2, 2}));
  const std::string bytes = WriteTensor("bytes.safetensors", "images", at::zeros({2, 3, 2, 2}, at::kByte));
  const std::string none = WriteTensor("none.safetensors", "images", at::zeros({0, 3, 2, 2}));
  const std::string large = WriteTensor("large.safetensors", "images", at::zeros({2, 3, 4, 4}));
  const auto with_weight = [](const char* file_name, const at::Tensor& weight) {
    Safetensors file = ModelToSafetensors(Means(3, 2));
    file.tensors["fc.weight"] = weight;
    return "--checkpoint=" + Write(file_name, file);
  };
  at::Tensor infinite = at::eye(3);
  infinite[1][2] = INFINITY;
  const std::string not_finite = with_weight("infinite.safetensors", infinite);
  const std::string int8 = with_weight("int8.safetensors", at::eye(3).to(at::kChar));
  at::Tensor pixels = at::zeros({2, 3, 2, 2});
  pixels[1][2][0][1] = NAN;
  const std::string nan = WriteTensor("nan.safetensors", "images", pixels);
  const std::string other = WriteTensor("other.safetensors", "pictures", at::zeros({2, 3, 2, 2}));
  const std::string checkpoint = "--checkpoint=" + weights, output = "--output=" + Temporary("never.safetensors");
  const std::string digits = "--dataset=[type.googleapis.com/prunelab.Digits] {}";
  const struct {
    std::vector<std::string> arguments;
    const char* message;
  } cases[] = {
      {{}, "--checkpoint is missing"},
      {{checkpoint}, "give either --dataset"},
      {{checkpoint, "--input=" + images}, "both --input and --output"},
      {{checkpoint, digits, "--input=" + images, output}, "give either --dataset"},
      {{checkpoint, "--input=" + bytes, output}, "`images` are Byte (2, 3, 2, 2); must be float32"},
      {{checkpoint, "--input=" + none, output}, "`images` are Float (0, 3, 2, 2)"},
      {{checkpoint, "--input=" + nan, output}, "nan.safetensors: images[1, 2, 0, 1] is nan; must be finite"},
      {{checkpoint, "--input=" + images, output, "--split=train"}, "--split goes with --dataset"},
      {{checkpoint, "--input=" + large, output}, "`images` are 3x4x4; the network takes 3x2x2"},
      {{checkpoint, "--input=" + other, output}, "has no tensor `images`"},
      {{checkpoint, "--input=/no/such", output}, "/no/such"},
      {{checkpoint, "--input=" + images, "--output=/no/such/folder/y.safetensors"}, "/no/such/folder"},
      {{checkpoint, "--input=" + images, "--output=" + images}, "is the file that --input="},
      {{checkpoint, "--input=" + images, "--output=" + testing::TempDir() + "/./means.safetensors"},
       "is the file that --checkpoint="},
      {{checkpoint, digits}, "the data set's images are 1x8x8; the network takes 3x2x2"},
      {{checkpoint, digits, "--split=validation"}, "--split=validation: must be test or train"},
      {{checkpoint, digits, "--batch_size=0"}, "--batch_size=0: must be at least 1"},
      {{checkpoint, digits, "--device=tpu"}, "--device=tpu: must be auto, cpu or cuda"},
      {{checkpoint, "--dataset=Digits"}, "--dataset:1:"},
      {{checkpoint, "--dataset=[type.googleapis.com/prunelab.Vgg] {}"}, "not a data set"},
      {{checkpoint, "--dataset=[type.googleapis.com/prunelab.Cifar10] { path: '/no/such' }"},
       "--dataset: path: /no/such: no such folder"},
      {{checkpoint, "--dataset=[type.googleapis.com/prunelab.Cifar10] { path: 'no_such' }"},
       "; relative paths are taken from /"},
      {{"--checkpoint=/no/such.safetensors", digits}, "/no/such.safetensors"},
      {{"--checkpoint=" + images, digits}, "carries no network; say which one its weights belong to, e.g. --network="},
      {{"--checkpoint=" + images, digits, "--network=[type.googleapis.com/prunelab.Vgg] { depth: 12 }"},
       "--network: depth: is 12; must be 11, 13, 16 or 19"},
      {{not_finite, digits}, "infinite.safetensors: fc.weight[1, 2] is inf; must be finite"},
      {{int8, digits}, "fc.weight is int8; must be a floating type"},
      {{"--checkpoint=no_such.safetensors", digits}, "--checkpoint: no_such.safetensors: no such file in /"},
      {{checkpoint, digits, "--strip_prefix=module."}, "as --strip_prefix=module. says"},
      {{checkpoint, digits, "test"}, "is not a flag"},
      {{checkpoint, digits, "--batchsize=3"}, "--batchsize is not a flag; did you mean --batch_size?"},
      {{checkpoint, digits, "--batch_size=abc"}, "--batch_size=abc: must be a whole number, e.g. 500"},
      {{checkpoint, "--dataset"}, "--dataset has no value"},
  };
  for (const auto& bad : cases) {
    const ProgramResult result = RunProgram(kEvaluate, bad.arguments);
    EXPECT_EQ(result.status, 2) << bad.message;
    EXPECT_EQ(result.out, "") << bad.message;
    EXPECT_THAT(result.err, HasSubstr(bad.message));
  }
  EXPECT_FALSE(ReadSafetensors(Temporary("never.safetensors")).ok());
}

}  // namespace
}  // namespace prunelab
