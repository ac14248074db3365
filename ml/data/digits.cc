#include "ml/data/digits.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "ml/data/shuffled_classes.h"
#include "third_party/scikit_learn_digits/digits_data.h"

namespace prunelab {
namespace {

constexpr int64_t kClasses = 10;
constexpr int64_t kSize = 8;
constexpr int64_t kPixels = kSize * kSize;
constexpr int64_t kTestImages = 359;
constexpr uint64_t kSplitSeed = 1998;
// Over the 1,438 x 64 training pixels divided by 16.
constexpr double kMean = 0.3052552373087622;
constexpr double kStddev = 0.37602278509331283;

LabelledImages Copy(const std::vector<int64_t>& records) {
  const int64_t n = static_cast<int64_t>(records.size());
  LabelledImages data;
  data.images = at::empty({n, 1, kSize, kSize}, at::kByte);
  data.labels = at::empty({n}, at::kLong);
  uint8_t* images = data.images.mutable_data_ptr<uint8_t>();
  int64_t* labels = data.labels.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    const unsigned char* record = kDigitsData + records[i] * kDigitsRecordBytes;
    std::copy(record, record + kPixels, images + i * kPixels);
    labels[i] = record[kPixels];
  }
  return data;
}

absl::StatusOr<DatasetInfo> Describe(const Digits&) {
  DatasetInfo info;
  info.classes = kClasses;
  info.channels = 1;
  info.height = info.width = kSize;
  info.train_images = kDigitsRecords - kTestImages;
  info.test_images = kTestImages;
  return info;
}

absl::StatusOr<Dataset> Open(const Digits& parameters) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < kDigitsRecords; ++i) labels.push_back(kDigitsData[i * kDigitsRecordBytes + kPixels]);
  std::vector<int64_t> train, test;
  for (const std::vector<int64_t>& members :
       ShuffledClasses(labels.data(), kDigitsRecords, kClasses, kSplitSeed, "digits/split")) {
    const int64_t count = static_cast<int64_t>(members.size());
    const int64_t test_count = (2 * count + 5) / 10;  // count / 5, rounded
    for (int64_t k = 0; k < count; ++k) (k < test_count ? test : train).push_back(members[k]);
  }
  std::sort(train.begin(), train.end());
  std::sort(test.begin(), test.end());
  Dataset dataset;
  dataset.info = *Describe(parameters);
  dataset.train = Copy(train);
  dataset.test = Copy(test);
  dataset.normalization.scale = 1.0 / 16;
  dataset.normalization.mean = {kMean};
  dataset.normalization.stddev = {kStddev};
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace

TypedDatasetFactory<Digits> CreateDigits() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateDigits);
}  // namespace

}  // namespace prunelab
