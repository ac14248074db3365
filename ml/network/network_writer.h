// Writes a Network node by node. Each call appends a node and returns its name, to be given to the next.
//
//   NetworkWriter net;
//   std::string x = net.Image(3, 32, 32);
//   x = net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", x, {64, 3, 1, 1})));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ml/network/network.pb.h"

namespace prunelab {

class NetworkWriter {
 public:
  struct ConvShape {
    int64_t out_channels = 0;
    int64_t kernel = 3;
    int64_t stride = 1;
    int64_t padding = 0;
    bool bias = false;
  };

  std::string Image(int64_t channels, int64_t height, int64_t width);
  std::string Conv(const std::string& name, const std::string& input, const ConvShape& shape);
  std::string BatchNorm(const std::string& name, const std::string& input);
  std::string Relu(const std::string& name, const std::string& input);
  std::string Add(const std::string& name, const std::vector<std::string>& inputs);
  std::string MaxPool(const std::string& name, const std::string& input, int64_t kernel, int64_t stride,
                      int64_t padding = 0);
  std::string AveragePool(const std::string& name, const std::string& input, int64_t kernel, int64_t stride);
  std::string Scatter(const std::string& name, const std::string& input, int64_t channels,
                      const std::vector<int64_t>& index);
  // Global average pool "avgpool", "flatten", then the linear layer `name`.
  std::string Classifier(const std::string& name, const std::string& input, int64_t classes);

  Network Take() { return std::move(network_); }

 private:
  Node* Append(const std::string& name, const std::vector<std::string>& inputs);
  Network network_;
};

}  // namespace prunelab
