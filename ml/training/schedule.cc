#include "ml/training/schedule.h"

#include <algorithm>
#include <cmath>

namespace prunelab {
namespace {

constexpr double kPi = 3.14159265358979323846;

double EpochRate(const Training& training, int64_t epoch) {
  const double base = BaseLearningRate(training);
  const Schedule& schedule = training.schedule();
  switch (schedule.kind_case()) {
    case Schedule::kStep:
      return base * std::pow(schedule.step().gamma(), static_cast<double>(epoch / schedule.step().period()));
    case Schedule::kMultiStep: {
      const auto& milestones = schedule.multi_step().milestone();
      const auto passed = std::count_if(milestones.begin(), milestones.end(), [&](int64_t m) { return m <= epoch; });
      return base * std::pow(schedule.multi_step().gamma(), static_cast<double>(passed));
    }
    case Schedule::kCosine: {
      const double last = schedule.cosine().final_learning_rate();
      const double done = static_cast<double>(epoch) / static_cast<double>(training.epochs());
      return last + (base - last) * (1 + std::cos(kPi * done)) / 2;
    }
    case Schedule::kConstant:
    case Schedule::KIND_NOT_SET:
      break;
  }
  return base;
}

}  // namespace

double BaseLearningRate(const Training& training) {
  return training.has_adamw() ? training.adamw().learning_rate() : training.sgd().learning_rate();
}

void SetBaseLearningRate(double learning_rate, Training& training) {
  if (training.has_adamw()) {
    training.mutable_adamw()->set_learning_rate(learning_rate);
  } else {
    training.mutable_sgd()->set_learning_rate(learning_rate);
  }
}

double LearningRate(const Training& training, int64_t epoch, int64_t iteration, int64_t iterations_per_epoch) {
  const double rate = EpochRate(training, epoch);
  const int64_t warmup_steps = training.schedule().warmup_epochs() * iterations_per_epoch;
  const int64_t step = epoch * iterations_per_epoch + iteration + 1;
  return step >= warmup_steps ? rate : rate * (static_cast<double>(step) / static_cast<double>(warmup_steps));
}

}  // namespace prunelab
