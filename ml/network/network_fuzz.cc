// Reads arbitrary text as the network in a file of weights: it is refused with a reason, or its shapes and counts are
// sizes.
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/network/network.h"

namespace {

class Silent : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Silent errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  prunelab::Network network;
  if (!parser.ParseFromString(std::string(reinterpret_cast<const char*>(data), size), &network)) return 0;
  const absl::StatusOr<prunelab::NetworkInfo> info = prunelab::NetworkInfo::Create(network);
  if (!info.ok()) {
    PRUNELAB_CHECK(!info.status().message().empty());
    return 0;
  }
  PRUNELAB_CHECK(info->MacCount() >= 0);
  PRUNELAB_CHECK(info->ParameterCount() >= info->ConvWeightCount());
  PRUNELAB_CHECK(info->ConvWeightCount() >= info->FilterCount());
  PRUNELAB_CHECK(info->StoredConstantCount() >= 0);
  PRUNELAB_CHECK(info->classes() > 0);
  for (const prunelab::ParameterSpec& spec : info->parameters()) {
    for (const int64_t length : spec.shape) PRUNELAB_CHECK(length > 0) << spec.name;
  }
  return 0;
}
