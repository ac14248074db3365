// The saved state of a training: all that decides how it goes on. The message SavedState describes it and carries the
// numbers and texts; the tensors are beside it, by group.
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

// The state that `file` holds. Fields of the message that the file lacks, or has in another form, are not set; tensors
// and metadata that no state holds are among the network's tensors, or passed over.
TrainingState ParseTrainingState(const Safetensors& file);

// Whether `file` is such a state, by what every state holds and no network.
bool IsTrainingState(const Safetensors& file);

// The group of a tensor of a state, by its name in the file, and its name within the group.
std::pair<SavedState::Group, std::string> GroupOf(const std::string& stored_name);

// Takes a state apart for a training that it may or may not be of: what is missing, has another form or is not wanted
// is noted, and all of it told in one error at the end.
class StateReader {
 public:
  explicit StateReader(const TrainingState& state) : state_(state) {}  // outlives this object

  // The tensor, where it is there with the shape and type of `like`; else undefined.
  at::Tensor Take(SavedState::Group group, const std::string& name, const at::Tensor& like);
  // Copies the tensor into `into`, likewise.
  void Load(SavedState::Group group, const std::string& name, const at::Tensor& into);
  // Another reason not to take this state.
  void AddDifference(std::string difference) { differences_.push_back(std::move(difference)); }

  // All of a group; none where the state has none.
  const std::map<std::string, at::Tensor>& Group(SavedState::Group group) const;

  // InvalidArgument where this is no state for those who read it; `name` stands for the file.
  absl::Status Finish(const std::string& name);

 private:
  const TrainingState& state_;
  std::set<std::pair<SavedState::Group, std::string>> taken_;
  std::vector<std::string> differences_;
};

}  // namespace prunelab
