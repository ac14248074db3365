// Times networks in inference engines that people deploy to: onnxruntime and OpenVINO, by their Python packages.
//
//   const NetworkTimer timer = EngineTimer({"onnxruntime", "python3", /*threads=*/1}, {/*batch_size=*/1});
#pragma once

#include <cstdint>
#include <string>

#include "ml/compression/network_timer.h"

namespace prunelab {

struct EngineOptions {
  std::string engine;  // "onnxruntime" or "openvino"
  std::string python;  // a command whose Python has the engine and numpy
  int64_t threads = 1;
};

// Times the files that ToOnnx makes of the networks as they are; engines fold BN themselves where they can. The files
// are written to a temporary folder, which is removed afterwards. Errors: FailedPrecondition, if the Python cannot be
// run or lacks the engine, with its own last words.
NetworkTimer EngineTimer(const EngineOptions& engine, const TimerOptions& options);

}  // namespace prunelab
