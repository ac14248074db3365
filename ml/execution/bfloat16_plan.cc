#include "ml/execution/bfloat16_plan.h"

#include <ATen/autocast_mode.h>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// Autocast to bfloat16 while it lives, in this thread.
class Autocast {
 public:
  explicit Autocast(at::DeviceType device)
      : device_(device),
        enabled_(at::autocast::is_autocast_enabled(device)),
        cached_(at::autocast::is_autocast_cache_enabled()),
        dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    // A pass reads each weight once: a cache would only hold on to the rounded copies.
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~Autocast() {
    at::autocast::set_autocast_cache_enabled(cached_);
    at::autocast::set_autocast_dtype(device_, dtype_);
    at::autocast::set_autocast_enabled(device_, enabled_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const at::DeviceType device_;
  const bool enabled_, cached_;
  const at::ScalarType dtype_;
};

}  // namespace

ForwardResult Bfloat16Plan::Forward(Model& model, const at::Tensor& images, const ForwardOptions& options) {
  PRUNELAB_CHECK(model.dtype() == at::kFloat) << "a model of " << c10::toString(model.dtype());
  ForwardResult result = [&] {
    const Autocast autocast(model.device().type());
    return plan_.Forward(model, images, options);
  }();
  result.logits = result.logits.to(at::kFloat);
  for (auto& [name, activation] : result.captured) activation = activation.to(at::kFloat);
  return result;
}

}  // namespace prunelab
