// The saved state of a training: everything that the rest of the training depends on. The message SavedState describes
// it and contains the numbers and texts; the tensors are next to it, by group.
//
//   TrainingState state;
//   state.message.mutable_position()->set_epoch(3);
//   state.tensors[SavedState::MASK]["conv1"] = mask;
//   const Safetensors file = ToSafetensors(state);           // whose names only saved_state.proto says
//
//   const TrainingState state = ParseTrainingState(file);
//   StateReader reader(state);
//   reader.Load(SavedState::NETWORK, "conv1.weight", weight);
//   PRUNELAB_RETURN_IF_ERROR(reader.Finish("checkpoint.safetensors"));
//
// The message is the structure and not the bytes: a state stays a .safetensors file, which other programs can open, and
// in which states written before there was a message look the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "ml/execution/saved_state.pb.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

struct TrainingState {
  SavedState message;
  std::map<SavedState::Group, std::map<std::string, at::Tensor>> tensors;  // by name within the group
};

Safetensors ToSafetensors(const TrainingState& state);

// The state in `file`. Fields of the message that the file lacks, or has in another form, are not set. Tensors and
// metadata that do not belong to a state are either among the network's tensors or skipped.
TrainingState ParseTrainingState(const Safetensors& file);

// Whether `file` is such a state: it has what every state has and no network has.
bool IsTrainingState(const Safetensors& file);

// The group of a tensor of a state, by its name in the file, and its name within the group.
std::pair<SavedState::Group, std::string> GroupOf(const std::string& stored_name);

// Takes a state apart for a training that it may or may not belong to. It collects what is missing, has another form or
// is superfluous, and reports everything in one error at the end.
class StateReader {
 public:
  explicit StateReader(const TrainingState& state) : state_(state) {}  // outlives this object

  // The tensor, if it exists with the shape and type of `like`; else undefined.
  at::Tensor Take(SavedState::Group group, const std::string& name, const at::Tensor& like);
  // Copies the tensor to `into`, under the same conditions.
  void Load(SavedState::Group group, const std::string& name, const at::Tensor& into);
  // Another reason not to take this state.
  void AddDifference(std::string difference) { differences_.push_back(std::move(difference)); }

  // All of a group; none where the state has none.
  const std::map<std::string, at::Tensor>& Group(SavedState::Group group) const;

  // InvalidArgument if this is not a state for the training that read it; `name` is the file's name.
  absl::Status Finish(const std::string& name);

 private:
  const TrainingState& state_;
  std::set<std::pair<SavedState::Group, std::string>> taken_;
  std::vector<std::string> differences_;
};

}  // namespace prunelab
