#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/execution/recorder.h"

namespace prunelab {
namespace {

// The memory that recordings share; LibTorch frees it together with the last of them.
struct GraphMemory {
  const at::cuda::MempoolId_t id = at::cuda::graph_pool_handle();
};

class CudaGraphRecording : public Recording {
 public:
  CudaGraphRecording(std::unique_ptr<at::cuda::CUDAGraph> graph, std::shared_ptr<GraphMemory> memory)
      : memory_(std::move(memory)), graph_(std::move(graph)) {}
  // Runs on the current stream, in its order.
  void Replay() override { graph_->replay(); }

 private:
  const std::shared_ptr<GraphMemory> memory_;
  const std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

// Everything that `second` is given from now on runs after what `first` was given before.
void Order(const c10::cuda::CUDAStream& first, const c10::cuda::CUDAStream& second) {
  at::cuda::CUDAEvent event;
  event.record(first);
  event.block(second);
}

// Makes `stream` the current stream while the object lives: it continues after the previous stream's work, and the
// previous stream continues after its work.
class OnStream {
 public:
  explicit OnStream(const c10::cuda::CUDAStream& stream) : guard_(stream) {
    Order(guard_.original_stream(), guard_.current_stream());
  }
  ~OnStream() { Order(guard_.current_stream(), guard_.original_stream()); }
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;

 private:
  const c10::cuda::CUDAStreamGuard guard_;
};

// The stream of a device on which everything is recorded, because libraries keep memory for each stream that they have
// seen. The default stream cannot be recorded.
c10::cuda::CUDAStream RecordingStream(c10::DeviceIndex device) {
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream>* streams =
      new std::map<c10::DeviceIndex, c10::cuda::CUDAStream>();
  const auto found = streams->find(device);
  if (found != streams->end()) return found->second;
  return streams->emplace(device, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)).first->second;
}

// After a capture that could not be ended: LibTorch's allocators, of memory on the device and of page-locked memory,
// were not told that it is over. They would go on asking a graph that no longer exists which memory belongs to it.
void EndAllocation(c10::DeviceIndex device, const at::cuda::MempoolId_t& memory) {
  const auto end = [](const auto& call) {
    try {
      call();
    } catch (const c10::Error&) {  // it had been told
    }
  };
  // One that had been told releases the memory with its graph.
  end([&] {
    c10::cuda::CUDACachingAllocator::endAllocateToPool(device, memory);
    c10::cuda::CUDACachingAllocator::releasePool(device, memory);
  });
  end([&] {
    at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(memory);
    at::getHostAllocator(at::kCUDA)->release_pool(memory);
  });
}

class CudaGraphRecorder : public Recorder {
 public:
  explicit CudaGraphRecorder(c10::Device device)
      : stream_(RecordingStream(device.has_index() ? device.index() : c10::cuda::current_device())) {}

  void Run(const std::function<void()>& work) override {
    const OnStream on(stream_);
    work();
  }

  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) override {
    const OnStream on(stream_);
    // Frees memory that earlier steps and destroyed recordings used: during a capture the allocator cannot return it to
    // the device when it needs more.
    c10::cuda::CUDACachingAllocator::emptyCache();
    std::shared_ptr<GraphMemory> memory = memory_.lock();
    if (memory == nullptr) memory_ = memory = std::make_shared<GraphMemory>();
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    try {
      // Other threads of this process may keep doing what must not be captured: one prepares batches in page-locked
      // memory.
      graph->capture_begin(memory->id, cudaStreamCaptureModeThreadLocal);
      work();
      graph->capture_end();
    } catch (const c10::Error& error) {
      // The recording is lost, and the stream has to be told.
      try {
        graph->capture_end();
      } catch (const c10::Error&) {
        EndAllocation(stream_.device_index(), memory->id);
      }
      (void)cudaGetLastError();  // the capture's, which would be taken for the next call's
      return absl::FailedPreconditionError(
          absl::StrCat("cannot be recorded as a CUDA graph: ", error.what_without_backtrace()));
    }
    return std::make_unique<CudaGraphRecording>(std::move(graph), std::move(memory));
  }

 private:
  const c10::cuda::CUDAStream stream_;
  std::weak_ptr<GraphMemory> memory_;
};

}  // namespace

std::unique_ptr<Recorder> MakeCudaGraphRecorder(c10::Device device) {
  return std::make_unique<CudaGraphRecorder>(device);
}

}  // namespace prunelab
