// Reads an ONNX file as a network with its tensors (docs/importing.md).
//
//   absl::StatusOr<ImportedNetwork> imported = ImportOnnx("resnet18.onnx");
//   if (!imported.ok()) return imported.status();  // resnet18.onnx: node "/a/Abs" (Abs): the operator is not known ...
//
// What PyTorch's two exporters write of convolutional networks is known, and what ml/compression/onnx_export.h writes.
// The steps are: the file becomes a graph (read_graph.h); what does not depend on the images is computed (fold.h);
// formulas of several nodes become one (patterns.h); each node is turned into nodes of the network (converter.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/network/network.h"

namespace prunelab {

struct ImportedNetwork {
  NetworkInfo info;
  std::map<std::string, at::Tensor>
      tensors;                     // the parameters and buffers of `info`: float32, or float64 where stored so
  std::vector<std::string> notes;  // what the user should know
};

// From a file; external data are read from its folder alone. NotFound if there is no such file. All other errors begin
// with `path` and name the node, its operator and what would be right. A file may hold anything: nothing that it says
// is believed before it was checked.
absl::StatusOr<ImportedNetwork> ImportOnnx(const std::string& path);

// The folder that a file is in: "." for a name without one.
std::string FolderOf(const std::string& path);

// From the bytes of a file called `name`. `folder`: where its external data lie; "" has none.
absl::StatusOr<ImportedNetwork> ImportOnnxBytes(absl::string_view bytes, const std::string& name,
                                                const std::string& folder);

}  // namespace prunelab
