// What the configs in a results folder say, as far as the plugins they name are linked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/reporting/analysis.h"
#include "experiments/reporting/run_records.h"

namespace prunelab {

// Parses ablation.textproto, passing over plugins and fields that are not known here. Returns "" or what is wrong: the
// syntax, or more arms or seeds than an ablation can have.
std::string ParseWrittenAblation(const std::string& text, Ablation* ablation);

// The configs that the ablation gives its arms, by name, as in config.textproto. Empty if that is not known because a
// plugin is not linked.
std::map<std::string, std::string> WrittenConfigs(const std::string& ablation_text);

// How the config.textproto of two runs differ, a line for each field; "" if they mean the same.
std::string ConfigDifference(const std::string& a, const std::string& b);

// Whether `run_id` differs from that of the run's config, seed and data, as far as its plugins are linked and its
// records say.
bool HasAnotherIdentity(const std::string& config_text, int64_t seed, const std::string& data_fingerprint,
                        const std::string& run_id);

// Sets what an arm's config.textproto and the records of its runs tell of it: whether it masks filters or weights, the
// number of classes, and its network's filters. What only the data would tell stays unknown where they are not here.
// Masks may also have come with `initial_weights`; of these the numbers of a run that is done tell.
void DescribeArm(const std::string& config_text, const std::vector<const RunRecords*>& runs, ArmFacts* facts);

// The types of the plugins that a run's config.textproto chooses for a field, including its phases, without
// repetitions, joined by "+", e.g. "prunelab.DynamicL1" for "pruning", or "". They are read from the text, because they
// may not be linked here.
std::string PluginType(const std::string& config, absl::string_view field);

}  // namespace prunelab
