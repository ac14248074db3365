// Makes a checkpoint of an ONNX file.
#include "ml/onnx/import.h"

#include <gflags/gflags.h>

#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "experiments/records/table.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/output_guard.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/onnx/checkpoint_file.h"
#include "ml/safetensors/safetensors.h"

DEFINE_string(onnx, "", "The network, an .onnx file; its external data lie in the same folder.");
DEFINE_string(output, "", "The checkpoint, .safetensors.");

namespace prunelab {
namespace {

// How many nodes of each kind there are.
std::string Kinds(const NetworkInfo& info) {
  std::map<std::string, int> counts;
  for (const Node& node : info.network().node()) {
    const auto* field = Node::descriptor()->FindFieldByNumber(node.op_case());
    ++counts[field->name()];
  }
  std::vector<std::vector<std::string>> rows = {{"operator", "nodes"}};
  for (const auto& [kind, count] : counts) rows.push_back({kind, absl::StrCat(count)});
  return Aligned(rows);
}

absl::Status Main() {
  ProtectWhatIsRead();
  if (FLAGS_onnx.empty() || FLAGS_output.empty()) {
    return absl::InvalidArgumentError("give both --onnx=resnet18.onnx and --output=resnet18.safetensors");
  }
  PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--onnx", FLAGS_onnx}}, {{"--output", FLAGS_output}}));
  const absl::StatusOr<ImportedNetwork> imported = ImportOnnx(UserPath(FLAGS_onnx));
  if (absl::IsNotFound(imported.status()) && !PathExists(UserPath(FLAGS_onnx))) {
    return WithPrefix("--onnx", NoSuchFile(FLAGS_onnx));
  }
  PRUNELAB_RETURN_IF_ERROR(imported.status());
  for (const std::string& note : imported->notes) std::cerr << UserPath(FLAGS_onnx) << ": " << note << "\n";
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(UserPath(FLAGS_output), ImportedCheckpoint(*imported)));
  const NodeShape& images = imported->info.input_shape();
  std::cout << Kinds(imported->info) << "images " << images.channels << "x" << images.height << "x" << images.width
            << ", " << imported->info.ParameterCount() << " parameters\nwrote " << UserPath(FLAGS_output) << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("makes a checkpoint of an ONNX file; see docs/importing.md", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
