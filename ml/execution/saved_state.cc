#include "ml/execution/saved_state.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace prunelab {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kYes[] = "yes", kNo[] = "no";

std::string StoredAs(int field_number) {
  const FieldDescriptor* field = SavedState::descriptor()->FindFieldByNumber(field_number);
  return field->options().GetExtension(stored_as);
}

std::string StoredName(SavedState::Group group, const std::string& name) {
  const auto* value = SavedState::Group_descriptor()->FindValueByNumber(group);
  return absl::StrCat(value->options().GetExtension(stored_prefix), name);
}

at::ScalarType TypeOf(const Message& numbers) {
  const bool integers = numbers.GetDescriptor()->field(0)->cpp_type() == FieldDescriptor::CPPTYPE_INT64;
  return integers ? at::kLong : at::kDouble;
}

// A message of numbers of one type as a tensor of its fields in their order, [fields].
at::Tensor NumbersOf(const Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const at::Tensor numbers = at::empty({message.GetDescriptor()->field_count()}, TypeOf(message));
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      numbers.mutable_data_ptr<int64_t>()[i] = reflection.GetInt64(message, field);
    } else {
      numbers.mutable_data_ptr<double>()[i] = reflection.GetDouble(message, field);
    }
  }
  return numbers;
}

bool AreNumbersOf(const at::Tensor& tensor, const Message& message) {
  return tensor.scalar_type() == TypeOf(message) && tensor.is_contiguous() && tensor.is_cpu() &&
         tensor.sizes() == at::IntArrayRef({message.GetDescriptor()->field_count()});
}

// The reverse of NumbersOf.
void SetNumbers(const at::Tensor& numbers, Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      reflection.SetInt64(&message, field, numbers.const_data_ptr<int64_t>()[i]);
    } else {
      reflection.SetDouble(&message, field, numbers.const_data_ptr<double>()[i]);
    }
  }
}

}  // namespace

Safetensors ToSafetensors(const TrainingState& state) {
  Safetensors file;
  for (const auto& [group, tensors] : state.tensors) {
    for (const auto& [name, tensor] : tensors) file.tensors[StoredName(group, name)] = tensor;
  }
  const SavedState& message = state.message;
  file.tensors[StoredAs(SavedState::kPositionFieldNumber)] = NumbersOf(message.position());
  file.tensors[StoredAs(SavedState::kSumsFieldNumber)] = NumbersOf(message.sums());
  file.metadata[StoredAs(SavedState::kTotalEpochsReadFieldNumber)] = message.total_epochs_read() ? kYes : kNo;
  for (const auto& [name, value] : message.strategy()) {
    file.metadata[absl::StrCat(StoredAs(SavedState::kStrategyFieldNumber), name)] = value;
  }
  return file;
}

TrainingState ParseTrainingState(const Safetensors& file) {
  TrainingState state;
  for (const auto& [stored_name, tensor] : file.tensors) {
    Message* numbers = nullptr;
    if (stored_name == StoredAs(SavedState::kPositionFieldNumber) && AreNumbersOf(tensor, state.message.position())) {
      numbers = state.message.mutable_position();
    } else if (stored_name == StoredAs(SavedState::kSumsFieldNumber) && AreNumbersOf(tensor, state.message.sums())) {
      numbers = state.message.mutable_sums();
    }
    if (numbers != nullptr) {
      SetNumbers(tensor, *numbers);
    } else {
      const auto [group, name] = GroupOf(stored_name);
      state.tensors[group][name] = tensor;
    }
  }
  const auto read = file.metadata.find(StoredAs(SavedState::kTotalEpochsReadFieldNumber));
  if (read != file.metadata.end()) state.message.set_total_epochs_read(read->second != kNo);
  for (const auto& [key, value] : file.metadata) {
    absl::string_view name = key;
    if (!absl::ConsumePrefix(&name, StoredAs(SavedState::kStrategyFieldNumber))) continue;
    (*state.message.mutable_strategy())[std::string(name)] = value;
  }
  return state;
}

bool IsTrainingState(const Safetensors& file) {
  return file.tensors.count(StoredAs(SavedState::kPositionFieldNumber)) > 0;
}

std::pair<SavedState::Group, std::string> GroupOf(const std::string& stored_name) {
  for (int i = 0; i < SavedState::Group_descriptor()->value_count(); ++i) {
    const auto group = static_cast<SavedState::Group>(SavedState::Group_descriptor()->value(i)->number());
    absl::string_view name = stored_name;
    if (group != SavedState::NETWORK && absl::ConsumePrefix(&name, StoredName(group, ""))) {
      return {group, std::string(name)};
    }
  }
  return {SavedState::NETWORK, stored_name};
}

const std::map<std::string, at::Tensor>& StateReader::Group(SavedState::Group group) const {
  static const std::map<std::string, at::Tensor>* const none = new std::map<std::string, at::Tensor>();
  const auto found = state_.tensors.find(group);
  return found != state_.tensors.end() ? found->second : *none;
}

at::Tensor StateReader::Take(SavedState::Group group, const std::string& name, const at::Tensor& like) {
  const auto found = Group(group).find(name);
  taken_.insert({group, name});
  if (found == Group(group).end()) {
    AddDifference(absl::StrCat("missing ", StoredName(group, name)));
    return {};
  }
  if (found->second.sizes() != like.sizes() || found->second.scalar_type() != like.scalar_type()) {
    AddDifference(absl::StrCat(StoredName(group, name), " has another shape or type"));
    return {};
  }
  return found->second;
}

void StateReader::Load(SavedState::Group group, const std::string& name, const at::Tensor& into) {
  const at::Tensor saved = Take(group, name, into);
  if (saved.defined()) into.detach().copy_(saved);
}

absl::Status StateReader::Finish(const std::string& name) {
  const auto expect = [&](bool set, int field_number) {
    const std::string stored_name = StoredAs(field_number);
    if (set) return;
    const bool malformed = Group(SavedState::NETWORK).count(stored_name) > 0;
    if (malformed) taken_.insert({SavedState::NETWORK, stored_name});
    AddDifference(malformed ? absl::StrCat(stored_name, " has another shape or type")
                            : absl::StrCat("missing ", stored_name));
  };
  expect(state_.message.has_position(), SavedState::kPositionFieldNumber);
  expect(state_.message.has_sums(), SavedState::kSumsFieldNumber);
  for (const auto& [group, tensors] : state_.tensors) {
    for (const auto& [tensor, unused] : tensors) {
      if (taken_.count({group, tensor}) == 0) AddDifference(absl::StrCat("unexpected ", StoredName(group, tensor)));
    }
  }
  if (differences_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": is no state of this training:\n  ", absl::StrJoin(differences_, "\n  ")));
}

}  // namespace prunelab
