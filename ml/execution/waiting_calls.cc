#include "ml/execution/waiting_calls.h"

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// Calls that read a value on the host, or need one to know the size of their result. Calls that are built on these,
// such as indexing by a mask, are found through them.
constexpr const char* kWaiting[] = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::repeat_interleave",
    "aten::equal",
    "aten::linalg_eigh",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::linalg_cholesky_ex",
    "aten::linalg_inv_ex",
};

// On the CPU they read the learning rate or the number of steps by a synchronizing call; a GPU's kernels read these on
// the device.
constexpr const char* kFusedSteps[] = {"aten::_fused_sgd_", "aten::_fused_adamw_"};

// What the only watch counts.
struct Found {
  std::mutex mutex;
  std::optional<c10::DeviceType> device;
  std::map<std::string, int64_t> counts;
};
Found& GlobalFound() {
  static Found* found = new Found();
  return *found;
}
std::atomic<bool> g_watching{false};
thread_local int g_inside_step = 0;

template <size_t kCount>
bool IsOneOf(const char* const (&names)[kCount], const at::RecordFunction& call) {
  return std::any_of(std::begin(names), std::end(names),
                     [&](const char* name) { return std::strcmp(call.name(), name) == 0; });
}

// A copy between devices that the host waits for.
bool WaitsForCopy(const at::RecordFunction& call) {
  const c10::ArrayRef<const c10::IValue> inputs = call.inputs();
  if (std::strcmp(call.name(), "aten::copy_") != 0 || inputs.size() < 3) return false;
  const c10::IValue &to = inputs[0], &from = inputs[1], &non_blocking = inputs[2];
  if (!to.isTensor() || !from.isTensor() || to.toTensor().device() == from.toTensor().device()) return false;
  const at::Tensor& host = to.toTensor().is_cpu() ? to.toTensor() : from.toTensor();
  return !(non_blocking.isBool() && non_blocking.toBool() && host.is_cpu() && host.is_pinned());
}

bool HasTensorOn(c10::DeviceType device, const at::RecordFunction& call) {
  return std::any_of(call.inputs().begin(), call.inputs().end(), [&](const c10::IValue& input) {
    return input.isTensor() && input.toTensor().defined() && input.toTensor().device().type() == device;
  });
}

std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction& call) {
  if (IsOneOf(kFusedSteps, call)) ++g_inside_step;
  if (g_inside_step > 0) return nullptr;
  if (!IsOneOf(kWaiting, call) && !WaitsForCopy(call)) return nullptr;
  Found& found = GlobalFound();
  const std::lock_guard<std::mutex> lock(found.mutex);
  if (!found.device || HasTensorOn(*found.device, call)) ++found.counts[call.name()];
  return nullptr;
}

void End(const at::RecordFunction& call, at::ObserverContext*) {
  if (IsOneOf(kFusedSteps, call)) --g_inside_step;
}

}  // namespace

WaitingCallsWatch::WaitingCallsWatch(std::optional<c10::DeviceType> device) {
  PRUNELAB_CHECK(!g_watching.exchange(true)) << "waiting calls are being looked for already";
  Found& found = GlobalFound();
  {
    const std::lock_guard<std::mutex> lock(found.mutex);
    found.device = device;
    found.counts.clear();
  }
  handle_ = at::addGlobalCallback(
      at::RecordFunctionCallback(&Begin, &End).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
}

WaitingCallsWatch::~WaitingCallsWatch() {
  at::removeCallback(handle_);
  g_watching = false;
}

std::map<std::string, int64_t> WaitingCallsWatch::counts() const {
  Found& found = GlobalFound();
  const std::lock_guard<std::mutex> lock(found.mutex);
  return found.counts;
}

std::set<std::string> WaitingCalls(const std::function<void()>& work) {
  const WaitingCallsWatch watch;
  work();
  std::set<std::string> names;
  for (const auto& [name, count] : watch.counts()) names.insert(name);
  return names;
}

}  // namespace prunelab
