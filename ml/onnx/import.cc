#include "ml/onnx/import.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <onnx/onnx_pb.h>

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converter.h"
#include "ml/onnx/fold.h"
#include "ml/onnx/patterns.h"
#include "ml/onnx/read_graph.h"

namespace prunelab {
namespace {

absl::StatusOr<onnx::ModelProto> Parse(absl::string_view bytes) {
  onnx::ModelProto model;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return absl::InvalidArgumentError("is larger than 2 GB; export it with its weights as external data");
  }
  if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("is no ONNX model, or not a whole one");
  }
  return model;
}

absl::StatusOr<ImportedNetwork> Import(absl::string_view bytes, const std::string& folder) {
  const at::NoGradGuard no_gradients;
  PRUNELAB_ASSIGN_OR_RETURN(onnx::ModelProto model, Parse(bytes));
  PRUNELAB_ASSIGN_OR_RETURN(OnnxGraph graph, ReadGraph(model, folder));
  model.Clear();  // its tensors were copied
  Folder computed(graph);
  computed.FoldAll(graph);
  RewritePatterns(graph);
  Network network;
  ImportedNetwork imported;
  PRUNELAB_RETURN_IF_ERROR(Converter(graph, computed).Run(network, imported.tensors, imported.notes));
  PRUNELAB_ASSIGN_OR_RETURN(imported.info, NetworkInfo::Create(std::move(network)));
  return imported;
}

}  // namespace

std::string FolderOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<ImportedNetwork> ImportOnnxBytes(absl::string_view bytes, const std::string& name,
                                                const std::string& folder) {
  absl::StatusOr<ImportedNetwork> imported = Import(bytes, folder);
  if (imported.ok()) return imported;
  return absl::Status(imported.status().code(), absl::StrCat(name, ": ", imported.status().message()));
}

absl::StatusOr<ImportedNetwork> ImportOnnx(const std::string& path) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return ImportOnnxBytes(bytes, path, FolderOf(path));
}

}  // namespace prunelab
