// How a GPU computes while an object of this class lives. LibTorch's own defaults suit speed: convolutions of float32
// numbers are TF32, whose products have 10 bits of mantissa instead of 23 and differ by about 3e-4. Whatever trains,
// evaluates or compares networks says here what it means instead.
//
//   const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
//   plan.Forward(model, images, options);
//
// The settings are those of cuDNN and cuBLAS:
//   - float32 convolutions and matrix products, as the argument says;
//   - bfloat16 and float16 matrix products add partial sums in float32, as a CPU does;
//   - convolutions use only algorithms that give the same bits again.
// They are the process's, not the thread's (the backward pass has threads of its own), so only one thread of a process
// may hold such objects; they may be nested. On a CPU they mean nothing.
#pragma once

#include <memory>

namespace prunelab {

class DeviceArithmetic {
 public:
  enum class Float32 { kIeee, kTf32 };
  explicit DeviceArithmetic(Float32 float32);
  // Everything is again as it was before.
  ~DeviceArithmetic();
  DeviceArithmetic(const DeviceArithmetic&) = delete;
  DeviceArithmetic& operator=(const DeviceArithmetic&) = delete;

 private:
  struct Settings;
  const std::unique_ptr<const Settings> before_;
};

}  // namespace prunelab
