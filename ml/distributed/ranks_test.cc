// Ranks as threads of one process. What happens to the others when a rank's process dies or is frozen is in
// //experiments/tests:rank_kill_test.
#include "ml/distributed/ranks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/base/share.h"
#include "ml/distributed/rank_store.h"
#include "ml/distributed/step_reduction.h"
#include "ml/distributed/synchronized_batch_norm.h"
#include "ml/distributed/testing/rank_threads.h"

namespace prunelab {
namespace {

TEST(ShareTest, SharesAreConsecutiveAndLeaveNothingOut) {
  for (int64_t count = 1; count <= 7; ++count) {
    for (int64_t n = 0; n <= 50; ++n) {
      int64_t end = 0;
      for (int64_t i = 0; i < count; ++i) {
        const Share share = {i, count};
        EXPECT_EQ(share.Begin(n), end);
        end = share.End(n);
        EXPECT_EQ(share.Size(n), end - share.Begin(n));
        EXPECT_GE(share.Size(n), n / count);
        EXPECT_LE(share.Size(n), n / count + 1);
      }
      EXPECT_EQ(end, n);
    }
  }
}

TEST(RanksTest, AllGetTheSameSums) {
  for (const int64_t count : {1, 2, 3, 5}) {
    std::mutex mutex;
    std::map<int64_t, at::Tensor> sums;
    OnRanks(count, [&](Ranks& ranks) {
      EXPECT_EQ(ranks.size(), count);
      EXPECT_EQ(ranks.first(), ranks.rank() == 0);
      at::Tensor numbers = at::arange(1001, at::kDouble) * (0.1 + 1.7 * static_cast<double>(ranks.rank()));
      ranks.Sum(numbers);
      const at::Tensor integers = at::full({2, 3}, ranks.rank() + 1, at::kLong);
      ranks.Sum(integers);
      EXPECT_TRUE(integers.eq(count * (count + 1) / 2).all().item<bool>());
      // Several at once.
      const at::Tensor a = at::full({100000}, 1.0f), b = at::full({10}, 2.0f);
      const std::unique_ptr<Ranks::Pending> first = ranks.StartSum(a), second = ranks.StartSum(b);
      second->Wait();
      first->Wait();
      EXPECT_TRUE(a.eq(count).all().item<bool>());
      EXPECT_TRUE(b.eq(2 * count).all().item<bool>());
      const std::lock_guard<std::mutex> lock(mutex);
      sums[ranks.rank()] = numbers;
    });
    ASSERT_EQ(sums.size(), static_cast<size_t>(count));
    const at::Tensor expected = at::arange(1001, at::kDouble) *
                                (0.1 * static_cast<double>(count) + 1.7 * static_cast<double>(count * (count - 1)) / 2);
    for (const auto& [rank, sum] : sums) {
      EXPECT_TRUE(at::equal(sum, sums[0])) << rank;
      EXPECT_LT((sum - expected).abs().max().item<double>(), 1e-9);
    }
  }
}

TEST(RanksTest, WhatOneSaysAllHear) {
  OnRanks(3, [](Ranks& ranks) {
    EXPECT_FALSE(ranks.Any(false));
    EXPECT_TRUE(ranks.Any(ranks.rank() == 2));
    EXPECT_EQ(ranks.OfFirst(ranks.first() ? std::string("a\0b", 3) : "not heard"), std::string("a\0b", 3));
    EXPECT_EQ(ranks.OfFirst(ranks.first() ? "" : "not heard"), "");
    const std::vector<std::vector<int64_t>> all = ranks.Gather({ranks.rank(), -7 * ranks.rank()});
    EXPECT_EQ(all, (std::vector<std::vector<int64_t>>{{0, 0}, {1, -7}, {2, -14}}));
    EXPECT_EQ(ranks.Gather({}), std::vector<std::vector<int64_t>>(3));
  });
}

TEST(RanksTest, ARankThatDoesNotComeIsNamed) {
  const std::unique_ptr<RankStore> store = *RankStore::ServeHere();
  RankPlace place;
  place.rank = 0;
  place.ranks = 3;
  place.address = "127.0.0.1";
  place.port = store->port();
  place.meeting = "test/";
  place.join_seconds = 0.5;
  const absl::Status status = Ranks::Join(place, at::kCPU).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(absl::StartsWith(status.message(), "rank 1 of 3 has not come to 127.0.0.1:")) << status;
  EXPECT_TRUE(absl::EndsWith(status.message(), "within 0 s") || absl::EndsWith(status.message(), "within 1 s"))
      << status;
}

TEST(RankStoreTest, WhatIsSetIsThere) {
  const std::unique_ptr<RankStore> store = *RankStore::ServeHere();
  const std::unique_ptr<RankStore> client = *RankStore::Connect("127.0.0.1", store->port(), 5);
  EXPECT_EQ(*client->Get("x"), std::nullopt);
  const std::string value("a\0b", 3);
  EXPECT_TRUE(store->Set("x", value).ok());
  EXPECT_EQ(*client->Get("x"), value);
}

// What Set has returned for, another connection reads: the store has taken it, not only the socket. A value that takes
// the store several reads lets a question on the other connection overtake it.
TEST(RankStoreTest, SetReturnsWhenTheStoreHasTheValue) {
  const std::unique_ptr<RankStore> store = *RankStore::ServeHere();
  const std::unique_ptr<RankStore> client = *RankStore::Connect("127.0.0.1", store->port(), 5);
  const std::string value(1 << 20, 'v');
  for (int round = 0; round < 50; ++round) {
    RankStore& writer = round % 2 == 0 ? *store : *client;
    RankStore& reader = round % 2 == 0 ? *client : *store;
    const std::string name = absl::StrCat("round/", round);
    ASSERT_TRUE(writer.Set(name, value).ok());
    const auto read = reader.Get(name);
    ASSERT_TRUE(read.ok() && *read) << name;
    ASSERT_TRUE(**read == value) << name << ": " << (*read)->size() << " bytes";
  }
}

// Gradients of a sum over ranks of each rank's loss, beside those of one that computes it all.
TEST(StepReductionTest, SumsGradientsAndWhatElseThereIs) {
  RandomStream stream(1, "test", 0);
  const auto random = [&](std::vector<int64_t> sizes) {
    const at::Tensor tensor = at::empty(sizes, at::kDouble);
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.view(-1)[i].fill_(2 * stream.Uniform() - 1);
    return tensor;
  };
  // Three buckets: 40,000 float64 are 320 kB, which are one by themselves.
  const std::vector<at::Tensor> start = {random({7, 5, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast),
                                         random({40000}), random({}), random({3, 4})};
  const auto loss = [](const std::vector<at::Tensor>& p, double factor) {
    return factor * (p[0].square().sum() * p[2] + p[1].sin().sum() + p[3].pow(3).sum());
  };
  OnRanks(3, [&](Ranks& ranks) {
    std::vector<at::Tensor> parameters;
    for (const at::Tensor& tensor : start) parameters.push_back(tensor.clone().requires_grad_());
    const double own = 1.0 + static_cast<double>(ranks.rank());
    const std::vector<at::Tensor> expected = torch::autograd::grad({loss(parameters, 6)}, parameters);
    StepReduction reduction(ranks, parameters);
    for (const bool overlaps : {true, false, true}) {
      if (overlaps) reduction.Begin();
      std::vector<at::Tensor> gradients = torch::autograd::grad({loss(parameters, own)}, parameters);
      const at::Tensor mean = at::full({2, 2}, own, at::kDouble), count = at::full({}, ranks.rank(), at::kLong);
      reduction.Finish(gradients, {{mean, 1.0 / 3}, {count}});
      EXPECT_EQ(reduction.begun_in_backward(), overlaps ? 3u : 0u);
      for (size_t i = 0; i < gradients.size(); ++i) {
        EXPECT_LT((gradients[i] - expected[i]).abs().max().item<double>(), 1e-13) << i;
        EXPECT_EQ(gradients[i].strides(), parameters[i].strides());
      }
      EXPECT_LT((mean - 2).abs().max().item<double>(), 1e-15);
      EXPECT_EQ(count.item<int64_t>(), 3);
    }
    // Backward passes that are not the step's do nothing.
    torch::autograd::grad({loss(parameters, own)}, parameters);
    std::vector<at::Tensor> some(parameters.size());
    some[1] = at::full_like(start[1], own);
    reduction.Finish(some, {});
    EXPECT_FALSE(some[0].defined());
    EXPECT_TRUE(some[1].eq(6).all().item<bool>());
  });
}

// Beside at::batch_norm of all images at once, with shares of different sizes, and means far from zero.
TEST(SynchronizedBatchNormTest, EqualsBatchNormOfAllImages) {
  RandomStream stream(2, "test", 0);
  const auto random = [&](std::vector<int64_t> sizes) {
    const at::Tensor tensor = at::empty(sizes, at::kDouble);
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.view(-1)[i].fill_(2 * stream.Uniform() - 1);
    return tensor;
  };
  const at::Tensor x = random({7, 4, 3, 2}) + 1e4 * at::arange(4).view({1, 4, 1, 1}), weight = random({4}),
                   bias = random({4}), upstream = random({7, 4, 3, 2}), mean = random({4}),
                   variance = random({4}).square();
  const auto fresh = [](const at::Tensor& tensor) { return tensor.clone().requires_grad_(); };
  const at::Tensor all = fresh(x), w = fresh(weight), b = fresh(bias), m = mean.clone(), v = variance.clone();
  const at::Tensor y = at::batch_norm(all, w, b, m, v, true, 0.3, 1e-3, false);
  const std::vector<at::Tensor> expected = torch::autograd::grad({(y * upstream).sum()}, {all, w, b});
  for (const int64_t count : {1, 2, 3}) {
    OnRanks(count, [&](Ranks& ranks) {
      const int64_t begin = ranks.share().Begin(7), size = ranks.share().Size(7);
      const auto own = [&](const at::Tensor& tensor) { return tensor.narrow(0, begin, size); };
      const at::Tensor part = fresh(own(x)), scale = fresh(weight), shift = fresh(bias);
      const at::Tensor running_mean = mean.clone(), running_variance = variance.clone();
      const at::Tensor out =
          SynchronizedBatchNorm(part, scale, shift, running_mean, running_variance, 0.3, 1e-3, ranks);
      EXPECT_LT((out - own(y)).abs().max().item<double>(), 1e-9);
      EXPECT_LT((running_mean - m).abs().max().item<double>(), 1e-11);
      EXPECT_LT((running_variance - v).abs().max().item<double>(), 1e-9);
      const std::vector<at::Tensor> gradients =
          torch::autograd::grad({(out * own(upstream)).sum()}, {part, scale, shift});
      EXPECT_LT((gradients[0] - own(expected[0])).abs().max().item<double>(), 1e-9);
      for (const size_t i : {1, 2}) {
        const at::Tensor sum = gradients[i].clone();
        ranks.Sum(sum);
        EXPECT_LT((sum - expected[i]).abs().max().item<double>(), 1e-8) << i;
      }
    });
  }
}

}  // namespace
}  // namespace prunelab
