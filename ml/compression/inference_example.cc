// A whole program that runs a trained network:
//
//   bazel run //ml/compression:inference_example -- small.safetensors
//   bazel run //ml/compression:inference_example -- small.safetensors images.safetensors
//
// The second file has the tensor `images` [N, C, H, W], float32, normalized as for training; without it there is one
// random image. It prints the class with the largest logit of each image, and how long calls take.
#include <ATen/ATen.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/files.h"
#include "ml/base/freed_memory.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/compression/inference.h"
#include "ml/safetensors/safetensors.h"

namespace {

absl::StatusOr<at::Tensor> Images(const char* path, const prunelab::NodeShape& shape) {
  if (path == nullptr) return at::randn({1, shape.channels, shape.height, shape.width});
  PRUNELAB_ASSIGN_OR_RETURN(const prunelab::Safetensors file, prunelab::ReadSafetensors(prunelab::UserPath(path)));
  const auto found = file.tensors.find("images");
  if (found != file.tensors.end()) return found->second;
  return absl::InvalidArgumentError(absl::StrCat(path, ": has no tensor \"images\""));
}

absl::Status Main(const char* checkpoint, const char* path) {
  PRUNELAB_ASSIGN_OR_RETURN(prunelab::Inference network, prunelab::Inference::Open(prunelab::UserPath(checkpoint)));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor images, Images(path, network.info().input_shape()));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor logits, network.Run(images));
  const at::Tensor best = logits.argmax(1);
  for (int64_t i = 0; i < best.numel(); ++i)
    std::cout << "image " << i << ": class " << best[i].item<int64_t>() << "\n";
  std::vector<double> seconds(25);
  for (double& each : seconds) {
    const double start = prunelab::SteadySeconds();
    PRUNELAB_RETURN_IF_ERROR(network.Run(images).status());
    each = prunelab::SteadySeconds() - start;
  }
  std::sort(seconds.begin(), seconds.end());
  std::cout << absl::StrFormat("%d images: median %.3f ms of %d calls\n", images.size(0), 1e3 * seconds[12], 25);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: inference_example CHECKPOINT [IMAGES.safetensors]\n";
    return 2;
  }
  prunelab::KeepFreedMemory();
  const absl::Status status = Main(argv[1], argc > 2 ? argv[2] : nullptr);
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return 2;
}
