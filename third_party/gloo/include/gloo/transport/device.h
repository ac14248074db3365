// A declaration of what LibTorch's header of its process group names (BUILD.bazel).
#pragma once

namespace gloo::transport {

class Device;
class UnboundBuffer;

}  // namespace gloo::transport
