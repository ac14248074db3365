// Prints the layers of a network and its size. The network comes from a config's arms, a checkpoint, or a network by
// itself.
#include <gflags/gflags.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/load.h"
#include "experiments/config/run_network.h"
#include "experiments/config/seed_files.h"
#include "experiments/config/selection.h"
#include "ml/base/flags.h"
#include "ml/base/status_macros.h"
#include "tools/command_line.h"
#include "tools/inspection.h"

DEFINE_string(config, "", "An ablation file: the networks of its arms.");
DEFINE_string(arms, "", "With --config, only the arms that this glob matches; a comma means or.");
DEFINE_string(checkpoint, "", "A .safetensors file: its network, with its masks.");
DEFINE_string(network, "",
              "A network, e.g. '[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'; with --checkpoint, the one "
              "that the weights belong to, if the file contains none.");

namespace prunelab {
namespace {

absl::Status InspectConfig() {
  PRUNELAB_ASSIGN_OR_RETURN(const LoadedAblation loaded, LoadAblation(FLAGS_config, ""));
  std::vector<Arm> arms = loaded.arms;
  if (!FLAGS_arms.empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(arms, SelectArms(loaded.arms, FLAGS_arms));
  }
  // Arms that differ only in other settings share a table.
  std::vector<std::pair<std::vector<std::string>, std::string>> tables;
  for (const Arm& arm : arms) {
    const RunConfig config = ForSeed(arm.config, loaded.ablation.seeds().first());
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<DatasetInfo> dataset, DescribeRunDataset(config));
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo info, BuildRunNetwork(config, dataset));
    const std::string table = InspectNetwork(info);
    bool known = false;
    for (auto& [names, text] : tables) {
      if (text != table) continue;
      names.push_back(arm.name);
      known = true;
    }
    if (!known) tables.push_back({{arm.name}, table});
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    std::cout << (i > 0 ? "\n" : "") << "arms: " << absl::StrJoin(tables[i].first, ", ") << "\n\n" << tables[i].second;
  }
  return absl::OkStatus();
}

absl::Status Main() {
  if (FLAGS_config.empty() == (FLAGS_checkpoint.empty() && FLAGS_network.empty())) {
    return absl::InvalidArgumentError(
        "give either --config=F, or --checkpoint=F, or --network='[type.googleapis.com/prunelab.ResNetCifar] { depth: "
        "56 }' (together with --checkpoint if that file contains no network)");
  }
  if (!FLAGS_arms.empty() && FLAGS_config.empty()) return absl::InvalidArgumentError("--arms goes with --config");
  if (FLAGS_checkpoint.empty()) PRUNELAB_RETURN_IF_ERROR(CheckNoCheckpointFlags());
  if (!FLAGS_config.empty()) return InspectConfig();
  if (FLAGS_checkpoint.empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo info, ParseNetwork(FLAGS_network, {}));
    std::cout << InspectNetwork(info);
    return absl::OkStatus();
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Model model, OpenCheckpoint(FLAGS_checkpoint, FLAGS_network, {}, at::kCPU));
  std::cout << InspectModel(model);
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("prints the layers of a network and how large it is; see docs/tools.md", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
