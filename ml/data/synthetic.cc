#include "ml/data/synthetic.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr int64_t kTiles = 4;
constexpr int64_t kMaxPixels = int64_t{1} << 32;  // per part: 16 GB of float32

absl::Status CheckRange(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be from ", least, " to ", most));
}

// Mean 0, variance 1: the sum of four uniform numbers, an integer until the last step.
double NearlyNormal(RandomStream& stream) {
  uint64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += stream.Next32();
  constexpr double kRoot3 = 1.7320508075688772;
  return (static_cast<double>(sum) - 0x1.fffffffep32) * 0x1p-32 * kRoot3;
}

// [classes, channels, kTiles, kTiles]
std::vector<double> Patterns(const Synthetic& parameters) {
  std::vector<double> patterns(parameters.classes() * parameters.channels() * kTiles * kTiles);
  RandomStream stream(parameters.seed(), "synthetic/patterns");
  for (double& tile : patterns) tile = NearlyNormal(stream);
  return patterns;
}

LabelledImages Part(const Synthetic& parameters, const std::vector<double>& patterns, absl::string_view name,
                    int64_t n) {
  const int64_t channels = parameters.channels(), size = parameters.image_size();
  LabelledImages part = {at::empty({n, channels, size, size}, at::kFloat), at::empty({n}, at::kLong)};
  float* pixel = part.images.mutable_data_ptr<float>();
  int64_t* labels = part.labels.mutable_data_ptr<int64_t>();
  const std::string purpose = absl::StrCat("synthetic/", name);
  for (int64_t i = 0; i < n; ++i) {
    labels[i] = i % parameters.classes();
    RandomStream stream(parameters.seed(), purpose, i);
    for (int64_t c = 0; c < channels; ++c) {
      const double* tiles = &patterns[(labels[i] * channels + c) * kTiles * kTiles];
      for (int64_t y = 0; y < size; ++y) {
        for (int64_t x = 0; x < size; ++x) {
          const double pattern = tiles[y * kTiles / size * kTiles + x * kTiles / size];
          *pixel++ = static_cast<float>(pattern + parameters.noise() * NearlyNormal(stream));
        }
      }
    }
  }
  return part;
}

absl::StatusOr<DatasetInfo> Describe(const Synthetic& parameters) {
  PRUNELAB_RETURN_IF_ERROR(CheckRange("classes", parameters.classes(), 2, 10000));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("channels", parameters.channels(), 1, 1024));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("image_size", parameters.image_size(), 1, 4096));
  const int64_t most = kMaxPixels / (parameters.channels() * parameters.image_size() * parameters.image_size());
  if (most < parameters.classes()) {
    return FieldError("image_size", absl::StrCat("is ", parameters.image_size(), ", and ", parameters.classes(),
                                                 " images of ", parameters.channels(), " channels would not fit in ",
                                                 kMaxPixels, " pixels; make the images smaller"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckRange("train_images", parameters.train_images(), parameters.classes(), most));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("test_images", parameters.test_images(), 1, most));
  if (!(parameters.noise() >= 0 && parameters.noise() <= 1e6)) {
    return FieldError("noise", absl::StrCat("is ", parameters.noise(), "; must be from 0 to 1e6"));
  }
  DatasetInfo info;
  info.classes = parameters.classes();
  info.channels = parameters.channels();
  info.height = info.width = parameters.image_size();
  info.train_images = parameters.train_images();
  info.test_images = parameters.test_images();
  return info;
}

absl::StatusOr<Dataset> Open(const Synthetic& parameters) {
  Dataset dataset;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.info, Describe(parameters));
  const std::vector<double> patterns = Patterns(parameters);
  dataset.train = Part(parameters, patterns, "train", parameters.train_images());
  dataset.test = Part(parameters, patterns, "test", parameters.test_images());
  dataset.normalization.scale = 1;
  dataset.normalization.mean.assign(parameters.channels(), 0);
  dataset.normalization.stddev.assign(parameters.channels(), std::sqrt(1 + parameters.noise() * parameters.noise()));
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace

TypedDatasetFactory<Synthetic> CreateSynthetic() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateSynthetic);
}  // namespace

}  // namespace prunelab
