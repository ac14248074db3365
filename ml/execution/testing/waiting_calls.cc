#include "ml/execution/testing/waiting_calls.h"

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

// On the CPU it reads the learning rate by a synchronizing call; a GPU's kernel reads it on the device.
constexpr char kFusedSgd[] = "aten::_fused_sgd_";

struct Found {
  std::mutex mutex;
  std::set<std::string> names;
};
std::atomic<Found*> g_found{nullptr};
thread_local int g_inside_sgd = 0;

bool CopiesBetweenDevices(const at::RecordFunction& call) {
  if (std::strcmp(call.name(), "aten::copy_") != 0 || call.inputs().size() < 2) return false;
  const c10::IValue &to = call.inputs()[0], &from = call.inputs()[1];
  return to.isTensor() && from.isTensor() && to.toTensor().device() != from.toTensor().device();
}

std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction& call) {
  if (std::strcmp(call.name(), kFusedSgd) == 0) ++g_inside_sgd;
  if (g_inside_sgd > 0) return nullptr;
  const bool waits = std::any_of(std::begin(kWaiting), std::end(kWaiting),
                                 [&](const char* name) { return std::strcmp(call.name(), name) == 0; });
  if (!waits && !CopiesBetweenDevices(call)) return nullptr;
  if (Found* found = g_found.load()) {
    const std::lock_guard<std::mutex> lock(found->mutex);
    found->names.insert(call.name());
  }
  return nullptr;
}

void End(const at::RecordFunction& call, at::ObserverContext*) {
  if (std::strcmp(call.name(), kFusedSgd) == 0) --g_inside_sgd;
}

}  // namespace

std::set<std::string> WaitingCalls(const std::function<void()>& work) {
  Found found;
  Found* none = nullptr;
  PRUNELAB_CHECK(g_found.compare_exchange_strong(none, &found)) << "waiting calls are being looked for already";
  struct Callback {
    at::CallbackHandle handle = at::addGlobalCallback(
        at::RecordFunctionCallback(&Begin, &End).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
    ~Callback() {
      at::removeCallback(handle);
      g_found = nullptr;
    }
  };
  {
    const Callback callback;
    work();
  }
  return found.names;
}

}  // namespace prunelab
