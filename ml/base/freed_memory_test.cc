#include "ml/base/freed_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "c10/core/CPUAllocator.h"
#include "c10/util/Exception.h"

namespace prunelab {
namespace {

int64_t PageFaults() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST(FreedMemoryTest, TheSecondUseOfMemoryFaultsNoPages) {
  KeepFreedMemory();
  constexpr size_t kBytes = size_t{40} << 20;  // 10,240 pages of 4 KB
  int64_t faults[3];
  for (int64_t& count : faults) {
    const int64_t before = PageFaults();
    const std::unique_ptr<char[]> memory(new char[kBytes]);
    std::memset(memory.get(), 1, kBytes);
    EXPECT_EQ(memory[kBytes / 2], 1);
    count = PageFaults() - before;
  }
  EXPECT_LT(faults[1], 100);
  EXPECT_LT(faults[2], 100);
}

TEST(FreedMemoryTest, TensorsFitIntoTheHolesThatTensorsOfTheirSizeLeft) {
  KeepFreedMemory();
  constexpr int kTensors = 20;
  constexpr int64_t kFloats = 2 << 20;  // 8 MB
  std::vector<at::Tensor> kept;         // between two holes, so that they do not become a larger one
  const void* heap[3] = {};
  for (const void*& end : heap) {
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < kTensors; ++i) {
      tensors.push_back(at::full({kFloats}, i));
      if (kept.size() < kTensors) kept.push_back(at::full({1000}, i));
    }
    for (int i = 0; i < kTensors; ++i) {
      EXPECT_EQ(tensors[i][kFloats - 1].item<float>(), i);
      EXPECT_EQ(kept[i][999].item<float>(), i);
    }
    end = sbrk(0);
  }
  EXPECT_EQ(heap[1], heap[0]);
  EXPECT_EQ(heap[2], heap[0]);
}

TEST(FreedMemoryTest, TensorsAreAlignedToCacheLines) {
  KeepFreedMemory();
  std::vector<at::Tensor> tensors;
  for (int64_t floats = 1; floats < 3000; floats += 7) {
    tensors.push_back(at::empty({floats}));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensors.back().data_ptr()) % 64, 0);
  }
  EXPECT_EQ(at::empty({0}).numel(), 0);
}

TEST(FreedMemoryTest, ATensorForWhichThereIsNoMemoryIsAnError) {
  KeepFreedMemory();
  EXPECT_THROW(at::empty({int64_t{1} << 60}), c10::Error);
  EXPECT_THROW(c10::GetCPUAllocator()->allocate(~size_t{0}), c10::Error);
}

}  // namespace
}  // namespace prunelab
