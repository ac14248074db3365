// Writes a Network node by node. Each call appends a node and returns its name, which you pass to the next call.
//
//   NetworkWriter net;
//   std::string x = net.Image(3, 32, 32);
//   x = net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", x, {64, 3, 1, 1})));
//   net.Linear("fc", net.Flatten("flat", net.GlobalAveragePool("pool", x)), 10);
//   absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(net.Take());
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ml/network/network.pb.h"

namespace prunelab {

class NetworkWriter {
 public:
  struct ConvShape {
    int64_t out_channels = 0;
    int64_t kernel = 3;  // height, and width if that is not given
    int64_t stride = 1;
    int64_t padding = 0;
    bool bias = false;
    int64_t groups = 1;
    int64_t dilation = 1;
    int64_t kernel_width = 0;  // 0: as the height
  };
  // How often the stored rows and columns of a constant are repeated; empty: once each.
  struct Repeats {
    std::vector<int64_t> rows, columns;
  };

  // A node of any operator: the caller fills in what it does.
  Node* Append(const std::string& name, const std::vector<std::string>& inputs);

  std::string Image(int64_t channels, int64_t height, int64_t width, const std::string& name = "image");
  std::string Conv(const std::string& name, const std::string& input, const ConvShape& shape);
  std::string BatchNorm(const std::string& name, const std::string& input, double epsilon = 1e-5);
  std::string Relu(const std::string& name, const std::string& input);
  std::string Elementwise(const std::string& name, const std::string& input, prunelab::Elementwise::Function function);
  std::string Dropout(const std::string& name, const std::string& input, double probability,
                      prunelab::Dropout::Unit unit = prunelab::Dropout::ELEMENT);
  std::string Add(const std::string& name, const std::vector<std::string>& inputs);
  std::string MaxPool(const std::string& name, const std::string& input, int64_t kernel, int64_t stride,
                      int64_t padding = 0);
  std::string AveragePool(const std::string& name, const std::string& input, int64_t kernel, int64_t stride,
                          int64_t padding = 0);
  std::string GlobalAveragePool(const std::string& name, const std::string& input);
  std::string Flatten(const std::string& name, const std::string& input);
  std::string Linear(const std::string& name, const std::string& input, int64_t features, bool bias = true);
  std::string Scatter(const std::string& name, const std::string& input, int64_t channels,
                      const std::vector<int64_t>& index);
  std::string Constant(const std::string& name, int64_t channels, int64_t height, int64_t width,
                       const Repeats& repeats = {});
  // Global average pool "avgpool", "flatten", then the linear layer `name`.
  std::string Classifier(const std::string& name, const std::string& input, int64_t classes);

  // The node that was appended last, for fields that its call does not set.
  Node& last() { return *network_.mutable_node(network_.node_size() - 1); }

  Network Take() { return std::move(network_); }

 private:
  Network network_;
};

}  // namespace prunelab
