#include "ml/pruning/rate.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "ml/base/field_error.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"

namespace prunelab {

absl::StatusOr<google::protobuf::Any> WithRate(const google::protobuf::Any& pruning, double rate) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> parameters, UnpackAny(pruning));
  const google::protobuf::Reflection& reflection = *parameters->GetReflection();
  const google::protobuf::FieldDescriptor* const field = parameters->GetDescriptor()->FindFieldByName("rate");
  if (field == nullptr || field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE) {
    return FieldError("", absl::StrCat(parameters->GetDescriptor()->full_name(),
                                       " has no rate that could be looked for; choose a strategy that has one"));
  }
  if (reflection.HasField(*parameters, field)) {
    return FieldError("rate", absl::StrCat("is ", reflection.GetDouble(*parameters, field),
                                           ", and it is what is looked for; leave it out"));
  }
  for (const char* bounded : {"norm_rate", "initial_rate"}) {
    const google::protobuf::FieldDescriptor* const other = parameters->GetDescriptor()->FindFieldByName(bounded);
    if (other != nullptr && reflection.HasField(*parameters, other)) {
      return FieldError(bounded, "may not be above the rate, which is looked for; leave it out");
    }
  }
  reflection.SetDouble(parameters.get(), field, rate);
  google::protobuf::Any with_rate;
  with_rate.PackFrom(*parameters);
  return with_rate;
}

}  // namespace prunelab
