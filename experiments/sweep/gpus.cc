#include "experiments/sweep/gpus.h"

#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "ml/base/check.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

std::optional<std::string> Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

std::vector<std::string> GpuNames(const std::optional<std::string>& visible, int64_t count) {
  std::vector<std::string> names;
  if (!visible) {
    for (int64_t i = 0; i < count; ++i) names.push_back(absl::StrCat(i));
    return names;
  }
  for (const absl::string_view name : absl::StrSplit(*visible, ',')) {
    if (static_cast<int64_t>(names.size()) == count) break;
    names.emplace_back(absl::StripAsciiWhitespace(name));
  }
  return names;
}

std::vector<std::string> GpusFor(c10::Device device) {
  if (!device.is_cuda()) return {};
  return GpuNames(Variable("CUDA_VISIBLE_DEVICES"), at::detail::getCUDAHooks().getNumGPUs());
}

size_t LeastBusyGpu(const std::vector<int64_t>& workers) {
  PRUNELAB_CHECK(!workers.empty()) << "a worker for a GPU, and no GPU";
  return std::min_element(workers.begin(), workers.end()) - workers.begin();
}

bool MpsListensIn(const std::string& pipes) { return PathExists(JoinPath(pipes, "control")); }

bool UsesMps() { return MpsListensIn(Variable("CUDA_MPS_PIPE_DIRECTORY").value_or("/tmp/nvidia-mps")); }

}  // namespace prunelab
