// What the steps of a plan (compiled_plan.h) make of a model's values alone, such as transformed weights, kept between
// calls. It belongs to one model whose values and masks do not change: whoever hands it to a plan promises that.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

namespace prunelab {

class PreparedValues {
 public:
  // What the step with this id (Step::id) keeps here; `make` makes it in the first call.
  template <typename T, typename Make>
  const T& Of(int64_t step, const Make& make) {
    std::shared_ptr<const void>& kept = kept_[step];
    if (kept == nullptr) kept = std::make_shared<const T>(make());
    return *static_cast<const T*>(kept.get());
  }

 private:
  std::map<int64_t, std::shared_ptr<const void>> kept_;
};

}  // namespace prunelab
