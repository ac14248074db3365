#include "ml/base/freed_memory.h"

#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "c10/core/Allocator.h"
#include "c10/core/CPUAllocator.h"
#include "c10/core/Device.h"
#include "c10/util/Exception.h"

// The address sanitizer sees more if each block comes from the allocator itself and not from inside another block.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define PRUNELAB_TENSOR_MEMORY
#endif

namespace prunelab {
namespace {

#ifdef PRUNELAB_TENSOR_MEMORY

constexpr size_t kAlignment = 64;  // a cache line, and the alignment of LibTorch's own allocator

// LibTorch's own allocator calls posix_memalign, which (seen in glibc 2.36) looks for a hole larger than what it will
// use, and so never takes the one that a tensor of the same size left. This allocator asks malloc for a size that
// depends on the tensor's size alone and aligns within the block. The address of malloc's block is stored right before
// the data.
class TensorMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Free, cpu};
    const size_t with_room = bytes + sizeof(void*) + kAlignment;
    void* block = with_room > bytes ? std::malloc(with_room) : nullptr;
    if (block == nullptr) {
      c10::profiledCPUMemoryReporter().OutOfMemory(bytes);
      TORCH_CHECK(false, "there is not enough memory for a tensor of ", bytes, " bytes");
    }
    const uintptr_t first = reinterpret_cast<uintptr_t>(block) + sizeof(void*);
    void* data = static_cast<char*>(block) + sizeof(void*) + (kAlignment - first % kAlignment) % kAlignment;
    Block(data) = block;
    c10::profiledCPUMemoryReporter().New(data, bytes);
    return {data, data, &Free, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static void*& Block(void* data) { return static_cast<void**>(data)[-1]; }

  static void Free(void* data) {
    if (data == nullptr) return;
    c10::profiledCPUMemoryReporter().Delete(data);
    std::free(Block(data));
  }
};

#endif

}  // namespace

void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);         // no allocation with a mapping of its own, which free would unmap
  mallopt(M_TRIM_THRESHOLD, -1);  // never return the top of the heap
  mallopt(M_TOP_PAD, 64 << 20);   // and grow it in large steps
#endif
#ifdef PRUNELAB_TENSOR_MEMORY
  static TensorMemory* memory = new TensorMemory;  // tensors may outlive every other static object
  c10::SetCPUAllocator(memory);
#endif
}

}  // namespace prunelab
