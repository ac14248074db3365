#include "experiments/runs/provenance.h"

#include <ATen/Version.h>
#include <torch/csrc/api/include/torch/version.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/training/precision.h"
#include "ml/training/step_plan.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "model name"))
      return std::string(absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
  }
  return "unknown";
}

}  // namespace

std::string ProvenanceText(const RunRequest& request, const Dataset& dataset, c10::Device device,
                           const std::string& existing) {
  Json json;
  json["code_revision"] = request.code_revision();
  json["data_fingerprint"] = dataset.fingerprint;
  json["classes"] = dataset.info.classes;  // a report computes chance without the data
  json["cpu"] = CpuName();
  json["cpu_capability"] = at::get_cpu_capability();
  json["threads"] = request.threads();
  json["device"] = device.str();
  const Training& training = request.config().training();
  const int64_t ranks = request.ranks().count();
  json["plan"] = StepPlanName(training, device, ranks);
  if (ranks > 1) json["ranks"] = ranks;
  if (device.is_cuda()) json["cuda_graphs"] = training.cuda_graphs();
  json["precision"] = PrecisionName(training.precision());
  json["libtorch"] = TORCH_VERSION;
  json["protobuf"] = google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
  Json before = Json::parse(existing, nullptr, /*allow_exceptions=*/false);
  if (before.is_object()) {
    Json earlier = before.contains("earlier") ? before["earlier"] : Json::array();
    before.erase("earlier");
    if (before != json) earlier.push_back(before);
    if (!earlier.empty()) json["earlier"] = earlier;
  }
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace prunelab
