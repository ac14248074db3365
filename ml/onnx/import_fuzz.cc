// Reads arbitrary bytes as an ONNX file: it is refused with a reason, or its network has all of its tensors, in their
// shapes. Bytes that begin with "text:" are a model as text, in which protobuf's own checks of bytes are not in the
// way.
#include <type_traits>

#include "absl/strings/strip.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/onnx/import.h"
#include "onnx/onnx_pb.h"

namespace {

class Silent : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
};

// The bytes of the model that the text is; "" if it is none. Debian's ONNX 1.20 has its messages without
// descriptions of themselves, which texts need: there every text is none.
template <typename Model>
std::string BytesOfText(absl::string_view text) {
  if constexpr (std::is_base_of_v<google::protobuf::Message, Model>) {
    Silent errors;
    google::protobuf::TextFormat::Parser parser;
    parser.RecordErrorsTo(&errors);
    Model model;
    return parser.ParseFromString(std::string(text), &model) ? model.SerializeAsString() : "";
  }
  return "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const bool is_text = absl::ConsumePrefix(&bytes, "text:");
  const absl::StatusOr<prunelab::ImportedNetwork> imported =
      prunelab::ImportOnnxBytes(is_text ? BytesOfText<onnx::ModelProto>(bytes) : std::string(bytes), "fuzz", "");
  if (!imported.ok()) {
    PRUNELAB_CHECK(imported.status().message().size() > 6);
    PRUNELAB_CHECK(imported.status().message().size() < 10000);
    return 0;
  }
  for (const prunelab::ParameterSpec& spec : imported->info.parameters()) {
    const auto found = imported->tensors.find(spec.name);
    PRUNELAB_CHECK(found != imported->tensors.end()) << spec.name;
    PRUNELAB_CHECK(found->second.sizes() == at::IntArrayRef(spec.shape)) << spec.name;
  }
  PRUNELAB_CHECK(imported->tensors.size() == imported->info.parameters().size());
  return 0;
}
