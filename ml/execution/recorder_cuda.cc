#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/execution/recorder.h"

namespace prunelab {
namespace {

// The memory that recordings share; LibTorch frees it with the last of them.
struct GraphMemory {
  const at::cuda::MempoolId_t id = at::cuda::graph_pool_handle();
};

class CudaGraphRecording : public Recording {
 public:
  CudaGraphRecording(std::unique_ptr<at::cuda::CUDAGraph> graph, std::shared_ptr<GraphMemory> memory)
      : memory_(std::move(memory)), graph_(std::move(graph)) {}
  // On the current stream, in its order.
  void Replay() override { graph_->replay(); }

 private:
  const std::shared_ptr<GraphMemory> memory_;
  const std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

class CudaGraphRecorder : public Recorder {
 public:
  explicit CudaGraphRecorder(c10::Device device)
      // The default stream cannot be recorded.
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  void Run(const std::function<void()>& work) override {
    const BetweenStreams between(stream_);
    work();
  }

  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) override {
    const BetweenStreams between(stream_);
    std::shared_ptr<GraphMemory> memory = memory_.lock();
    if (memory == nullptr) memory_ = memory = std::make_shared<GraphMemory>();
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    try {
      // Other threads of this process may go on with what must not be recorded: one prepares batches in page-locked
      // memory.
      graph->capture_begin(memory->id, cudaStreamCaptureModeThreadLocal);
      work();
      graph->capture_end();
    } catch (const c10::Error& error) {
      // What was being recorded is lost; the stream has to be told.
      try {
        graph->capture_end();
      } catch (const c10::Error&) {
      }
      return absl::FailedPreconditionError(
          absl::StrCat("cannot be recorded as a CUDA graph: ", error.what_without_backtrace()));
    }
    return std::make_unique<CudaGraphRecording>(std::move(graph), std::move(memory));
  }

 private:
  // While it lives `stream` is the current one; it goes on where the one before was, and that one after it.
  class BetweenStreams {
   public:
    explicit BetweenStreams(const c10::cuda::CUDAStream& stream)
        : before_(c10::cuda::getCurrentCUDAStream(stream.device_index())), stream_(stream), guard_(Follow(stream)) {}
    ~BetweenStreams() {
      at::cuda::CUDAEvent done;
      done.record(stream_);
      done.block(before_);
    }
    BetweenStreams(const BetweenStreams&) = delete;
    BetweenStreams& operator=(const BetweenStreams&) = delete;

   private:
    const c10::cuda::CUDAStream& Follow(const c10::cuda::CUDAStream& stream) {
      at::cuda::CUDAEvent ready;
      ready.record(before_);
      ready.block(stream);
      return stream;
    }
    const c10::cuda::CUDAStream before_, stream_;
    const c10::cuda::CUDAStreamGuard guard_;
  };

  const c10::cuda::CUDAStream stream_;
  std::weak_ptr<GraphMemory> memory_;
};

}  // namespace

std::unique_ptr<Recorder> MakeCudaGraphRecorder(c10::Device device) {
  return std::make_unique<CudaGraphRecorder>(device);
}

}  // namespace prunelab
