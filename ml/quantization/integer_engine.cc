#include "ml/quantization/integer_engine.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/kernels/integer_elementwise/integer_elementwise.h"
#include "ml/kernels/parallel_for.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

constexpr int64_t kSpare = 64;  // bytes that kernels may read beyond a value

IntegerConvAxis AxisOf(const WindowAxis& axis) {
  return {axis.kernel, axis.stride, axis.dilation, axis.before, axis.after};
}

IntegerConvWeights WeightsOf(const IntegerConv& conv) {
  IntegerConvWeights weights;
  weights.out_channels = conv.levels.size(0);
  weights.groups = conv.groups;
  weights.in_channels = conv.levels.size(1) * conv.groups;
  weights.down = AxisOf(conv.window.down);
  weights.across = AxisOf(conv.window.across);
  const at::Tensor levels = conv.levels.contiguous(), bias = conv.bias.contiguous();
  weights.levels.assign(levels.data_ptr<int8_t>(), levels.data_ptr<int8_t>() + levels.numel());
  weights.bias.assign(bias.data_ptr<int64_t>(), bias.data_ptr<int64_t>() + bias.numel());
  weights.input_zero_point = static_cast<int32_t>(conv.zero_point);
  if (conv.rescaling.multiplier.defined()) {
    const at::Tensor multiplier = conv.rescaling.multiplier.flatten(), shift = conv.rescaling.shift.flatten();
    weights.multiplier.assign(multiplier.data_ptr<int64_t>(), multiplier.data_ptr<int64_t>() + multiplier.numel());
    weights.shift.assign(shift.data_ptr<int64_t>(), shift.data_ptr<int64_t>() + shift.numel());
  }
  weights.zero_point = static_cast<int32_t>(conv.result.zero_point);
  weights.first = static_cast<int32_t>(conv.result.first);
  weights.last = static_cast<int32_t>(conv.result.last);
  return weights;
}

// The convolution, of one group, that writes its channels to their places in a stream; the others are zero.
IntegerConv Scattered(const IntegerConv& conv, const Scatter& scatter) {
  const at::Tensor rows = at::tensor(std::vector<int64_t>(scatter.index().begin(), scatter.index().end()), at::kLong);
  const auto spread = [&](const at::Tensor& values, int64_t otherwise) {
    std::vector<int64_t> shape = values.sizes().vec();
    shape[0] = scatter.channels();
    return at::full(shape, otherwise, values.options()).index_copy_(0, rows, values);
  };
  IntegerConv wide = conv;
  wide.levels = spread(conv.levels, 0);
  wide.bias = spread(conv.bias, 0);
  wide.rescaling.multiplier = spread(conv.rescaling.multiplier, 0);
  wide.rescaling.shift = spread(conv.rescaling.shift, 1);
  return wide;
}

int64_t Rescaled(const Rescaling& rescaling, int64_t at, int64_t x) {
  const int64_t shift = rescaling.shift.data_ptr<int64_t>()[at];
  return (x * rescaling.multiplier.data_ptr<int64_t>()[at] + (int64_t{1} << (shift - 1))) >> shift;
}

uint8_t OnGrid(const ResultGrid& grid, int64_t value) {
  return static_cast<uint8_t>(std::min(std::max(value + grid.zero_point, grid.first), grid.last));
}

// Work on `count` numbers in pieces that threads share; pieces begin at multiples of 64.
void InPieces(int64_t count, const std::function<void(int64_t first, int64_t count)>& work) {
  constexpr int64_t kPiece = 1 << 15;
  ParallelFor((count + kPiece - 1) / kPiece,
              [&](int64_t i) { work(i * kPiece, std::min(kPiece, count - i * kPiece)); });
}

}  // namespace

IntegerEngine::IntegerEngine(const IntegerNetwork& network, int64_t images)
    : network_(network),
      images_(images),
      values_(network.info().network().node_size()),
      sums_(network.info().network().node_size()) {
  PRUNELAB_CHECK(images >= 1) << "a batch of " << images;
  FindScatteredConvs();
  // Buffers are taken by values and given back when nothing reads them any more.
  std::vector<int> free;
  std::vector<int64_t> sizes;
  std::set<int> done;  // scatters
  for (const auto& [conv, scatter] : scattered_) done.insert(scatter);
  for (const IntegerStep& step : network.steps()) {
    Plan(step);
    if (done.count(step.node) > 0) continue;
    const auto scatter = scattered_.find(step.node);
    const int written = scatter == scattered_.end() ? step.node : scatter->second;
    if (written != step.node) {
      values_[written] = values_[step.node];
      values_[written].channels = network.info().shape(written).channels;
      values_[written].stride = PlacesStride(values_[written].channels);
    }
    Value& value = values_[written];
    int chosen = -1;
    for (size_t k = 0; k < free.size(); ++k) {  // the one that has to grow least
      if (chosen < 0 || std::abs(sizes[free[k]] - value.numbers()) < std::abs(sizes[free[chosen]] - value.numbers())) {
        chosen = static_cast<int>(k);
      }
    }
    if (chosen < 0) {
      value.buffer = static_cast<int>(sizes.size());
      sizes.push_back(0);
    } else {
      value.buffer = free[chosen];
      free.erase(free.begin() + chosen);
    }
    sizes[value.buffer] = std::max(sizes[value.buffer], value.numbers());
    for (const int node : step.last_read) free.push_back(values_[node].buffer);
  }
  for (const int64_t size : sizes) buffers_.emplace_back(size + kSpare, 0);
  for (const IntegerStep& step : network.steps()) {
    if (done.count(step.node) == 0) steps_.push_back(Prepare(step));
  }
}

void IntegerEngine::FindScatteredConvs() {
  const NetworkInfo& info = network_.info();
  std::set<int> convs;
  for (const IntegerStep& step : network_.steps()) {
    const auto* conv = std::get_if<IntegerConv>(&step.operation);
    // Zero must not be cut off, as it is by a clip above it.
    if (conv != nullptr && conv->groups == 1 && conv->result.first <= conv->result.zero_point &&
        conv->result.zero_point <= conv->result.last) {
      convs.insert(step.node);
    }
    if (info.node(step.node).op_case() != Node::kScatter) continue;
    const int from = step.inputs[0];
    if (convs.count(from) > 0 && info.users(from).size() == 1 && !info.IsOutput(from)) scattered_[from] = step.node;
  }
}

void IntegerEngine::Plan(const IntegerStep& step) {
  const NodeShape& shape = network_.info().shape(step.node);
  Value& value = values_[step.node];
  if (value.buffer >= 0) return;  // a scatter that its convolution does
  value.images = images_;
  if (const auto* stored = std::get_if<StoredPlaces>(&step.operation)) value.images = stored->places.size(0);
  if (!step.inputs.empty()) {
    value.images = 1;
    for (const int input : step.inputs) value.images = std::max(value.images, values_[input].images);
  }
  value.channels = shape.channels;
  value.height = shape.height;
  value.width = shape.width;
  value.stride = PlacesStride(shape.channels);
}

int64_t IntegerEngine::bytes() const {
  int64_t bytes = 0;
  for (const std::vector<uint8_t>& buffer : buffers_) bytes += static_cast<int64_t>(buffer.size());
  return bytes;
}

std::function<void()> IntegerEngine::Prepare(const IntegerStep& step) {
  if (const auto* conv = std::get_if<IntegerConv>(&step.operation)) return PrepareConv(step, *conv, /*sums=*/false);
  if (const auto* conv = std::get_if<AccumulatedConv>(&step.operation)) return PrepareConv(step, conv->conv, true);
  if (const auto* sum = std::get_if<IntegerSum>(&step.operation)) return PrepareSum(step, *sum);
  if (const auto* product = std::get_if<IntegerProduct>(&step.operation)) return PrepareProduct(step, *product);
  if (const auto* concat = std::get_if<IntegerConcat>(&step.operation)) return PrepareConcat(step, *concat);
  if (const auto* pool = std::get_if<IntegerAveragePool>(&step.operation)) return PreparePool(step, *pool);
  if (std::holds_alternative<MovedPlaces>(step.operation)) return PrepareMoved(step);
  if (const auto* table = std::get_if<IntegerTable>(&step.operation)) {
    const int from = step.inputs[0], to = step.node;
    return [this, table, from, to] {
      const uint8_t* entries = table->table.data_ptr<uint8_t>();
      InPieces(values_[to].numbers(), [&](int64_t first, int64_t count) {
        LookUpPlaces(count, entries, Places(from) + first, Places(to) + first);
      });
    };
  }
  if (const auto* stored = std::get_if<StoredPlaces>(&step.operation)) {
    return [this, stored, to = step.node] { FromTensor(stored->places, to); };
  }
  return [this, &step] { FromTensor(network_.RunStep(step, {}, input_), step.node); };
}

std::function<void()> IntegerEngine::PrepareConv(const IntegerStep& step, IntegerConv conv, bool sums) {
  const auto scatter = scattered_.find(step.node);
  const int from = step.inputs[0], to = scatter == scattered_.end() ? step.node : scatter->second;
  if (to != step.node) conv = Scattered(conv, network_.info().node(to).scatter());
  const auto plan = std::make_shared<IntegerConvPlan>(WeightsOf(conv),
                                                      IntegerConvPlan::Size{values_[from].height, values_[from].width});
  if (!sums) {
    return [this, plan, from, to] { plan->Run(values_[to].images, Places(from), Places(to)); };
  }
  const Value& value = values_[to];
  const auto accumulators = std::make_shared<std::vector<int32_t>>(value.numbers() + kSpare);
  const at::Tensor scale = conv.step.contiguous();
  const bool flat = network_.info().shape(to).flat;
  return [this, plan, from, to, accumulators, scale, flat] {
    const Value& value = values_[to];
    plan->Accumulate(value.images, Places(from), accumulators->data());
    // A new tensor each time: the caller keeps it.
    at::Tensor result = at::empty({value.images, value.channels, value.height, value.width}, at::kFloat);
    float* data = result.data_ptr<float>();
    const int64_t plane = value.height * value.width;
    for (int64_t p = 0; p < value.pixels(); ++p) {
      for (int64_t c = 0; c < value.channels; ++c) {
        data[(p / plane * value.channels + c) * plane + p % plane] = static_cast<float>(
            static_cast<double>((*accumulators)[p * value.stride + c]) * scale.data_ptr<double>()[c]);
      }
    }
    sums_[to] = flat ? result.flatten(1) : result;
  };
}

std::function<void()> IntegerEngine::PrepareSum(const IntegerStep& step, const IntegerSum& sum) {
  const Value& value = values_[step.node];
  if (step.inputs.size() > PlacesSum::kMostInputs) return PreparePlain(step);
  bool whole = true;
  for (const int input : step.inputs) {
    const Value& x = values_[input];
    const bool pixel = x.height == 1 && x.width == 1;
    if (x.channels != value.channels || (!pixel && (x.height != value.height || x.width != value.width))) {
      return PreparePlain(step);
    }
    whole = whole && x.numbers() == value.numbers();
  }
  PlacesSum places;
  places.inputs = static_cast<int64_t>(step.inputs.size());
  for (int64_t k = 0; k < places.inputs; ++k) {
    places.zero_points[k] = static_cast<int32_t>(sum.zero_points[k]);
    places.multipliers[k] = static_cast<int32_t>(sum.rescaling.multiplier[k].item<int64_t>());
  }
  places.shift = static_cast<int32_t>(sum.rescaling.shift.item<int64_t>());
  places.zero_point = static_cast<int32_t>(sum.result.zero_point);
  places.first = static_cast<int32_t>(sum.result.first);
  places.last = static_cast<int32_t>(sum.result.last);
  if (whole) {
    return [this, places, inputs = step.inputs, to = step.node] {
      InPieces(values_[to].numbers(), [&](int64_t first, int64_t count) {
        const uint8_t* x[PlacesSum::kMostInputs];
        for (size_t k = 0; k < inputs.size(); ++k) x[k] = Places(inputs[k]) + first;
        AddPlaces(places, count, x, Places(to) + first);
      });
    };
  }
  // Some are of one image, or of one pixel, which is repeated to a map first.
  return [this, places, inputs = step.inputs, to = step.node] {
    const Value& value = values_[to];
    const int64_t pixels = value.height * value.width, map = pixels * value.stride;
    ParallelFor(value.images, [&](int64_t n) {
      thread_local std::vector<uint8_t> repeated;
      repeated.resize(map * inputs.size());
      const uint8_t* x[PlacesSum::kMostInputs];
      for (size_t k = 0; k < inputs.size(); ++k) {
        const Value& part = values_[inputs[k]];
        const int64_t own = part.height * part.width * part.stride;
        x[k] = Places(inputs[k]) + (part.images > 1 ? n * own : 0);
        if (own == map) continue;
        uint8_t* copies = repeated.data() + map * static_cast<int64_t>(k);
        for (int64_t p = 0; p < pixels; ++p) std::memcpy(copies + p * value.stride, x[k], value.stride);
        x[k] = copies;
      }
      AddPlaces(places, map, x, Places(to) + n * map);
    });
  };
}

std::function<void()> IntegerEngine::PrepareProduct(const IntegerStep& step, const IntegerProduct& product) {
  const Value &a = values_[step.inputs[0]], &b = values_[step.inputs[1]];
  const auto is_gate_of = [](const Value& gate, const Value& x) {
    return gate.height == 1 && gate.width == 1 && gate.channels == x.channels && gate.images == x.images;
  };
  const bool swapped = !is_gate_of(b, a);
  if (swapped && !is_gate_of(a, b)) return PreparePlain(step);
  PlacesProduct places;
  places.zero_points[0] = static_cast<int32_t>(product.zero_points[swapped ? 1 : 0]);
  places.zero_points[1] = static_cast<int32_t>(product.zero_points[swapped ? 0 : 1]);
  places.multiplier = product.rescaling.multiplier.item<int64_t>();
  places.shift = product.rescaling.shift.item<int64_t>();
  places.zero_point = static_cast<int32_t>(product.result.zero_point);
  places.first = static_cast<int32_t>(product.result.first);
  places.last = static_cast<int32_t>(product.result.last);
  const int x = step.inputs[swapped ? 1 : 0], gate = step.inputs[swapped ? 0 : 1], to = step.node;
  return [this, places, x, gate, to] {
    const Value& value = values_[to];
    const int64_t pixels = value.height * value.width;
    ParallelFor(value.images, [&](int64_t n) {
      const int64_t first = n * pixels * value.stride;
      GatePlaces(places, pixels, value.channels, value.stride, Places(x) + first, Places(gate) + n * value.stride,
                 Places(to) + first);
    });
  };
}

std::function<void()> IntegerEngine::PrepareConcat(const IntegerStep& step, const IntegerConcat& concat) {
  for (const int input : step.inputs) {
    if (values_[input].images != values_[step.node].images) return PreparePlain(step);
  }
  // What becomes of each place of each input.
  std::vector<std::vector<uint8_t>> tables;
  for (size_t k = 0; k < step.inputs.size(); ++k) {
    std::vector<uint8_t> table(256);
    for (int64_t q = 0; q < 256; ++q) {
      table[q] = OnGrid(concat.result, Rescaled(concat.rescaling, static_cast<int64_t>(k), q - concat.zero_points[k]));
    }
    tables.push_back(std::move(table));
  }
  return [this, tables, inputs = step.inputs, to = step.node] {
    const Value& value = values_[to];
    ParallelFor(value.images, [&](int64_t n) {
      const int64_t pixels = value.height * value.width;
      int64_t channel = 0;
      for (size_t k = 0; k < inputs.size(); ++k) {
        const Value& part = values_[inputs[k]];
        const uint8_t* x = Places(inputs[k]) + n * pixels * part.stride;
        uint8_t* y = Places(to) + n * pixels * value.stride + channel;
        for (int64_t p = 0; p < pixels; ++p) {
          LookUpPlaces(part.channels, tables[k].data(), x + p * part.stride, y + p * value.stride);
        }
        channel += part.channels;
      }
    });
  };
}

std::function<void()> IntegerEngine::PreparePool(const IntegerStep& step, const IntegerAveragePool& pool) {
  return [this, &pool, from = step.inputs[0], to = step.node] {
    const Value &in = values_[from], &out = values_[to];
    ParallelFor(out.images, [&](int64_t n) {
      std::vector<int32_t> sums(in.stride);
      const uint8_t* x = Places(from) + n * in.height * in.width * in.stride;
      uint8_t* y = Places(to) + n * out.height * out.width * out.stride;
      for (size_t r = 0; r < pool.rows.size(); ++r) {
        for (size_t c = 0; c < pool.columns.size(); ++c) {
          const PooledRow &row = pool.rows[r], &column = pool.columns[c];
          std::fill(sums.begin(), sums.end(), 0);
          for (int64_t i = row.first; i < row.end; ++i) {
            for (int64_t j = column.first; j < column.end; ++j) {
              const uint8_t* pixel = x + (i * in.width + j) * in.stride;
              for (int64_t k = 0; k < in.stride; ++k) sums[k] += pixel[k];
            }
          }
          const int64_t count =
              std::max<int64_t>(row.end - row.first, 0) * std::max<int64_t>(column.end - column.first, 0);
          const int64_t at = static_cast<int64_t>(r * pool.columns.size() + c);
          for (int64_t k = 0; k < in.channels; ++k) {
            y[at * out.stride + k] =
                OnGrid(pool.result, Rescaled(pool.rescaling, at, sums[k] - count * pool.zero_point));
          }
        }
      }
    });
  };
}

std::function<void()> IntegerEngine::PrepareMoved(const IntegerStep& step) {
  const NetworkInfo& info = network_.info();
  const Node& node = info.node(step.node);
  const int from = step.inputs[0], to = step.node;
  const int64_t zero_point = std::get<MovedPlaces>(step.operation).zero_point;
  if (node.op_case() == Node::kRelu) {
    std::vector<uint8_t> table(256);
    for (int64_t q = 0; q < 256; ++q) table[q] = static_cast<uint8_t>(std::max(q, zero_point));
    return [this, table, from, to] {
      InPieces(values_[to].numbers(), [&](int64_t first, int64_t count) {
        LookUpPlaces(count, table.data(), Places(from) + first, Places(to) + first);
      });
    };
  }
  const bool flattens = node.op_case() == Node::kFlatten || node.op_case() == Node::kUnflatten;
  if (flattens || node.op_case() == Node::kSelect || node.op_case() == Node::kScatter) {
    // Which number of an image's pixel (or, of a flatten, of its map) each channel is; -1: zero.
    const Value& in = values_[from];
    std::vector<int64_t> source(values_[to].channels, -1);
    if (flattens) {
      const int64_t plane = in.height * in.width;
      for (size_t k = 0; k < source.size(); ++k) {
        const int64_t f = static_cast<int64_t>(k);
        source[k] = f % plane * in.stride + f / plane;
      }
    } else if (node.op_case() == Node::kSelect) {
      for (int k = 0; k < node.select().index_size(); ++k) source[k] = node.select().index(k);
    } else {
      for (int k = 0; k < node.scatter().index_size(); ++k) source[node.scatter().index(k)] = k;
    }
    const int64_t step_in = flattens ? in.height * in.width * in.stride : in.stride;
    return [this, source, step_in, from, to, zero = static_cast<uint8_t>(zero_point)] {
      const Value& out = values_[to];
      for (int64_t p = 0; p < out.pixels(); ++p) {
        const uint8_t* x = Places(from) + p * step_in;
        uint8_t* y = Places(to) + p * out.stride;
        for (size_t c = 0; c < source.size(); ++c) y[c] = source[c] < 0 ? zero : x[source[c]];
      }
    };
  }
  if (node.op_case() == Node::kMaxPool2D) return PrepareMaxPool(step, WindowOf(node.max_pool2d()));
  return PreparePlain(step);
}

std::function<void()> IntegerEngine::PrepareMaxPool(const IntegerStep& step, const Window& window) {
  return [this, window, from = step.inputs[0], to = step.node] {
    const Value &in = values_[from], &out = values_[to];
    ParallelFor(out.images * out.height, [&](int64_t i) {
      const int64_t n = i / out.height, r = i % out.height;
      for (int64_t c = 0; c < out.width; ++c) {
        uint8_t* y = Places(to) + ((n * out.height + r) * out.width + c) * out.stride;
        std::memset(y, 0, out.stride);
        for (int64_t kr = 0; kr < window.down.kernel; ++kr) {
          const int64_t row = r * window.down.stride - window.down.before + kr * window.down.dilation;
          if (row < 0 || row >= in.height) continue;
          for (int64_t kc = 0; kc < window.across.kernel; ++kc) {
            const int64_t column = c * window.across.stride - window.across.before + kc * window.across.dilation;
            if (column < 0 || column >= in.width) continue;
            TakeLargerPlaces(in.stride, Places(from) + ((n * in.height + row) * in.width + column) * in.stride, y);
          }
        }
      }
    });
  };
}

std::function<void()> IntegerEngine::PreparePlain(const IntegerStep& step) {
  const NetworkInfo& info = network_.info();
  plain_nodes_.push_back(absl::StrCat(info.node(step.node).name(), " (", info.op(step.node).Name(), ")"));
  return [this, &step] {
    std::vector<at::Tensor> places(values_.size());
    for (const int input : step.inputs) places[input] = ToTensor(input);
    FromTensor(network_.RunStep(step, places, input_), step.node);
  };
}

at::Tensor IntegerEngine::ToTensor(int node) const {
  const Value& value = values_[node];
  const uint8_t* x = buffers_[value.buffer].data();
  at::Tensor places = at::empty({value.images, value.channels, value.height, value.width}, at::kByte);
  uint8_t* data = places.data_ptr<uint8_t>();
  const int64_t plane = value.height * value.width;
  for (int64_t p = 0; p < value.pixels(); ++p) {
    for (int64_t c = 0; c < value.channels; ++c) {
      data[(p / plane * value.channels + c) * plane + p % plane] = x[p * value.stride + c];
    }
  }
  return network_.info().shape(node).flat ? places.flatten(1) : places;
}

void IntegerEngine::FromTensor(const at::Tensor& places, int node) {
  const Value& value = values_[node];
  const at::Tensor dense = places.contiguous();
  PRUNELAB_CHECK(dense.numel() == value.pixels() * value.channels) << "a value of another size";
  const uint8_t* data = dense.data_ptr<uint8_t>();
  uint8_t* y = Places(node);
  const int64_t plane = value.height * value.width;
  for (int64_t n = 0; n < value.images; ++n) {
    for (int64_t c = 0; c < value.channels; ++c) {
      const uint8_t* from = data + (n * value.channels + c) * plane;
      uint8_t* to = y + n * plane * value.stride + c;
      for (int64_t p = 0; p < plane; ++p) to[p * value.stride] = from[p];
    }
  }
}

std::vector<at::Tensor> IntegerEngine::Run(const at::Tensor& images) {
  PRUNELAB_CHECK(images.size(0) == images_) << "a batch of " << images.size(0) << " instead of " << images_;
  const at::NoGradGuard no_gradients;
  input_ = images;
  for (const std::function<void()>& step : steps_) step();
  std::vector<at::Tensor> results;
  for (const int output : network_.info().outputs()) {
    at::Tensor value = sums_[output];
    if (!value.defined()) {
      const Grid& grid = network_.output_grids().at(output);
      value = (ToTensor(output).to(at::kFloat) - static_cast<double>(grid.zero_point)) * grid.scale;
    }
    std::vector<int64_t> sizes = value.sizes().vec();
    sizes[0] = images_;
    results.push_back(value.expand(sizes));
    sums_[output] = at::Tensor();
  }
  input_ = at::Tensor();
  return results;
}

}  // namespace prunelab
