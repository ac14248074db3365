#include "ml/kernels/batch_norm/batch_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <string>
#include <vector>

#include "ml/kernels/instruction_set.h"

namespace prunelab {
namespace {

constexpr double kEpsilon = 1e-5;

struct Case {
  int64_t rows, channels;
  std::vector<int32_t> position;  // empty: all are stored
  Rectifier relu;
  bool addend;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Rectifier& relu : {Rectifier(false), Rectifier(true), Rectifier(true, 0.7)}) {
    for (const bool addend : {false, true}) {
      cases.push_back({1000, 16, {}, relu, addend});
      cases.push_back({4099, 37, {}, relu, addend});
      cases.push_back({3001, 16, {0, 2, 3, 7, 8, 11, 14, 15}, relu, addend});
      cases.push_back({333, 67, {1, 2, 3, 5, 8, 13, 21, 34, 55}, relu, addend});
      cases.push_back({40, 600, {7, 599}, relu, addend});
    }
  }
  return cases;
}

struct Tensors {
  at::Tensor out, daddend, dgamma, dbeta, dy, dy_stored, mean, variance;
};

at::Tensor Values(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return at::arange(n, at::kDouble).mul(frequency).sin().add(at::arange(n, at::kDouble).mul(0.137).cos()).view(shape);
}

at::Tensor Index(const Case& test) {
  std::vector<int64_t> index(test.position.begin(), test.position.end());
  return at::tensor(index, at::kLong);
}

struct Inputs {
  at::Tensor y, gamma, beta, addend, gradient;  // y in full width
  explicit Inputs(const Case& test)
      : y(Values({test.rows, test.channels}, 1.1) * 3 + 7),
        gamma(Values({test.channels}, 0.7)),
        beta(Values({test.channels}, 0.3)),
        gradient(Values({test.rows, test.channels}, 2.3)) {
    if (test.addend) addend = Values({test.rows, test.channels}, 0.9);
    if (test.position.empty()) return;
    const at::Tensor stored = at::zeros({test.channels}, at::kDouble);
    stored.index_fill_(0, Index(test), 1);
    y = y * stored;
  }
};

template <typename T>
Tensors Kernels(const Case& test) {
  const Inputs in(test);
  const auto dtype = c10::CppTypeToScalarType<T>::value;
  const auto as = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(dtype).contiguous() : tensor; };
  const at::Tensor y = as(test.position.empty() ? in.y : in.y.index_select(1, Index(test)));
  const at::Tensor addend = as(in.addend), gradient = as(in.gradient);
  BatchNormLayout layout{test.rows, test.channels, y.size(1), test.position.empty() ? nullptr : test.position.data()};
  Tensors result;
  result.mean = at::empty({test.channels}, at::kDouble);
  result.variance = at::empty({test.channels}, at::kDouble);
  BatchNormStatistics(layout, y.data_ptr<T>(), result.mean.data_ptr<double>(), result.variance.data_ptr<double>());
  const at::Tensor inverse = (result.variance + kEpsilon).rsqrt();
  const at::Tensor scale = as(in.gamma * inverse);
  const at::Tensor shift = as(in.beta - result.mean * in.gamma * inverse), mean = as(result.mean);
  result.out = at::empty({test.rows, test.channels}, dtype);
  BatchNormForward(layout, y.data_ptr<T>(), scale.data_ptr<T>(), shift.data_ptr<T>(),
                   test.addend ? addend.data_ptr<T>() : nullptr, test.relu, result.out.data_ptr<T>());
  result.dgamma = at::empty({test.channels}, at::kDouble);
  result.dbeta = at::empty({test.channels}, at::kDouble);
  result.dy = at::empty({test.rows, test.channels}, dtype);
  const bool gated = test.relu.on && test.addend;
  result.daddend = gated ? at::empty({test.rows, test.channels}, dtype) : gradient;
  if (!test.position.empty()) result.dy_stored = at::empty({test.rows, y.size(1)}, dtype);
  BatchNormBackward(layout, gradient.data_ptr<T>(), y.data_ptr<T>(), gated ? result.out.data_ptr<T>() : nullptr,
                    scale.data_ptr<T>(), shift.data_ptr<T>(), mean.data_ptr<T>(), inverse.data_ptr<double>(), test.relu,
                    gated ? result.daddend.data_ptr<T>() : nullptr, result.dgamma.data_ptr<double>(),
                    result.dbeta.data_ptr<double>(), result.dy.data_ptr<T>(),
                    result.dy_stored.defined() ? result.dy_stored.data_ptr<T>() : nullptr);
  return result;
}

// The same by LibTorch's operators and autograd, in float64.
Tensors LibTorch(const Case& test) {
  Inputs in(test);
  Tensors result;
  result.mean = in.y.mean(0);
  result.variance = in.y.var(0, /*unbiased=*/false);
  for (at::Tensor* leaf : {&in.y, &in.gamma, &in.beta, &in.addend}) {
    if (leaf->defined()) leaf->set_requires_grad(true);
  }
  at::Tensor out = at::batch_norm(in.y, in.gamma, in.beta, {}, {}, /*training=*/true, 0.1, kEpsilon, false);
  if (test.addend) out = out + in.addend;
  if (test.relu.on) out = test.relu.has_ceiling() ? at::hardtanh(out, 0, test.relu.ceiling) : at::relu(out);
  std::vector<at::Tensor> leaves = {in.y, in.gamma, in.beta};
  if (test.addend) leaves.push_back(in.addend);
  const std::vector<at::Tensor> gradients = torch::autograd::grad({out}, leaves, {in.gradient});
  result.out = out.detach();
  result.dy = gradients[0];
  result.dgamma = gradients[1];
  result.dbeta = gradients[2];
  result.daddend = test.addend ? gradients[3] : in.gradient;
  return result;
}

double Difference(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor difference = (a.to(at::kDouble) - b).abs().max() / b.abs().max().clamp_min(1e-300);
  return difference.item<double>();
}

void ExpectEqual(const Tensors& ours, const Tensors& expected, const Case& test, double tolerance) {
  EXPECT_LT(Difference(ours.out, expected.out), tolerance);
  EXPECT_LT(Difference(ours.dy, expected.dy), tolerance);
  EXPECT_LT(Difference(ours.dgamma, expected.dgamma), tolerance);
  EXPECT_LT(Difference(ours.dbeta, expected.dbeta), tolerance);
  if (test.addend) EXPECT_LT(Difference(ours.daddend, expected.daddend), tolerance);
  if (!test.position.empty()) {
    EXPECT_LT(Difference(ours.dy_stored, expected.dy.index_select(1, Index(test))), tolerance);
  }
}

TEST(BatchNormTest, EqualsLibTorchOnEachInstructionSet) {
  const InstructionSet best = BestInstructionSet();
  for (const InstructionSet set : {InstructionSet::kGeneric, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!HasInstructionSet(set)) continue;
    SetInstructionSet(set);
    int number = 0;
    for (const Case& test : Cases()) {
      SCOPED_TRACE(std::string(Name(set)) + ", case " + std::to_string(number++));
      const Tensors expected = LibTorch(test);
      const Tensors ours = Kernels<double>(test);
      ExpectEqual(ours, expected, test, 1e-12);
      EXPECT_LT(Difference(ours.mean, expected.mean), 1e-13);
      EXPECT_LT(Difference(ours.variance, expected.variance), 1e-12);
      // In float an output near 0 may be on the other side of the gate, which changes whole gradients, so these are
      // compared without ReLU.
      if (!test.relu) ExpectEqual(Kernels<float>(test), expected, test, 2e-5);
    }
  }
  SetInstructionSet(best);
}

TEST(BatchNormTest, EqualsTheReference) {
  for (const Case& test : Cases()) {
    const Inputs in(test);
    Tensors expected;
    expected.out = at::empty_like(in.y);
    expected.dy = at::empty_like(in.y);
    expected.daddend = at::empty_like(in.y);
    expected.dgamma = at::empty_like(in.gamma);
    expected.dbeta = at::empty_like(in.gamma);
    BatchNormReference(test.rows, test.channels, in.y.data_ptr<double>(), in.gamma.data_ptr<double>(),
                       in.beta.data_ptr<double>(), kEpsilon, test.addend ? in.addend.data_ptr<double>() : nullptr,
                       test.relu, in.gradient.data_ptr<double>(), expected.out.data_ptr<double>(),
                       expected.dy.data_ptr<double>(), expected.daddend.data_ptr<double>(),
                       expected.dgamma.data_ptr<double>(), expected.dbeta.data_ptr<double>());
    ExpectEqual(Kernels<double>(test), expected, test, 1e-12);
  }
}

TEST(BatchNormTest, BitsDependOnNoNumberOfThreads) {
  const Case test = {20000, 24, {0, 1, 2, 3, 9, 10, 20, 21}, true, true};
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensors one = Kernels<float>(test);
  at::set_num_threads(3);
  const Tensors three = Kernels<float>(test);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one.out, three.out));
  EXPECT_TRUE(at::equal(one.dy, three.dy));
  EXPECT_TRUE(at::equal(one.dgamma, three.dgamma));
}

TEST(BatchNormTest, NotANumberIsNotLost) {
  const BatchNormLayout layout{2, 1, 1, nullptr};
  const double y[] = {std::nan(""), 1}, scale = 1, shift = 0;
  double out[2], mean, variance;
  BatchNormStatistics(layout, y, &mean, &variance);
  EXPECT_TRUE(std::isnan(mean) && std::isnan(variance));
  BatchNormForward<double>(layout, y, &scale, &shift, nullptr, true, out);
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 1);
}

}  // namespace
}  // namespace prunelab
