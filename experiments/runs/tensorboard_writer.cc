#include "experiments/runs/tensorboard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/runs/tensorboard_events.pb.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

double SystemClock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <typename T>
void AppendLittleEndian(T value, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// Protos with maps are serialized the same way each time.
std::string Serialized(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

// A value that exists only for its metadata.
void AddPluginData(const std::string& tag, const tensorboard::HparamsPluginData& data, tensorboard::Summary* summary) {
  tensorboard::Summary::Value* value = summary->add_value();
  value->set_tag(tag);
  value->mutable_tensor()->set_dtype(1);
  value->mutable_tensor()->mutable_tensor_shape()->add_dim();  // of size 0, the default
  tensorboard::Metadata::Plugin* plugin = value->mutable_metadata()->mutable_plugin_data();
  plugin->set_plugin_name("hparams");
  plugin->set_content(Serialized(data));
}

}  // namespace

std::string TensorboardFrame(absl::string_view bytes) {
  std::string frame;
  AppendLittleEndian(static_cast<uint64_t>(bytes.size()), &frame);
  AppendLittleEndian(MaskedCrc(frame), &frame);
  frame.append(bytes.data(), bytes.size());
  AppendLittleEndian(MaskedCrc(bytes), &frame);
  return frame;
}

absl::StatusOr<TensorboardWriter> TensorboardWriter::Create(const std::string& folder, int64_t first_step,
                                                            std::function<double()> now) {
  if (now == nullptr) now = SystemClock;
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  int64_t attempts = 0;
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kEventsPrefix)) continue;
    const std::string path = JoinPath(folder, name);
    if (first_step > 0) {
      ++attempts;
    } else if (unlink(path.c_str()) != 0) {
      return absl::PermissionDeniedError(absl::StrCat(path, ": cannot be removed, and the run must begin anew"));
    }
  }
  // Readers read the files in the order of their names.
  TensorboardWriter writer(JoinPath(folder, absl::StrFormat("%s%010d.prunelab", kEventsPrefix, attempts)),
                           std::move(now));
  tensorboard::Event version;
  version.set_wall_time(writer.now_());
  version.set_file_version("brain.Event:2");
  writer.Append(Serialized(version));
  if (first_step > 0) {
    tensorboard::Event start;
    start.set_wall_time(writer.now_());
    start.set_step(first_step);
    start.mutable_session_log()->set_status(1);
    writer.Append(Serialized(start));
  }
  PRUNELAB_RETURN_IF_ERROR(writer.Flush());
  return writer;
}

void TensorboardWriter::Append(const std::string& event) { pending_ += TensorboardFrame(event); }

void TensorboardWriter::AddScalar(const std::string& tag, double value, int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(now_());
  event.set_step(step);
  tensorboard::Summary::Value* entry = event.mutable_summary()->add_value();
  entry->set_tag(tag);
  entry->set_simple_value(static_cast<float>(value));
  Append(Serialized(event));
}

void TensorboardWriter::AddHistogram(const std::string& tag, const std::vector<double>& values, int64_t step,
                                     int64_t buckets) {
  std::vector<double> finite;
  for (const double value : values) {
    if (std::isfinite(value)) finite.push_back(value);
  }
  tensorboard::Event event;
  event.set_wall_time(now_());
  event.set_step(step);
  tensorboard::Summary::Value* entry = event.mutable_summary()->add_value();
  entry->set_tag(tag);
  tensorboard::Histogram* histogram = entry->mutable_histo();
  histogram->set_num(static_cast<double>(finite.size()));
  double sum = 0, squares = 0;
  for (const double value : finite) {
    sum += value;
    squares += value * value;
  }
  histogram->set_sum(sum);
  histogram->set_sum_squares(squares);
  if (!finite.empty()) {
    const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
    histogram->set_min(*low);
    histogram->set_max(*high);
    const double width = (*high - *low) / static_cast<double>(buckets);
    std::vector<double> counts(static_cast<size_t>(width > 0 ? buckets : 1), 0.0);
    for (const double value : finite) {
      const double at = width > 0 ? std::ceil((value - *low) / width) - 1 : 0;
      counts[static_cast<size_t>(std::clamp(at, 0.0, static_cast<double>(counts.size() - 1)))] += 1;
    }
    for (size_t i = 0; i < counts.size(); ++i) {
      histogram->add_bucket_limit(i + 1 == counts.size() ? *high : *low + static_cast<double>(i + 1) * width);
      histogram->add_bucket(counts[i]);
    }
  }
  Append(Serialized(event));
}

void TensorboardWriter::AddHyperparameters(const std::map<std::string, std::string>& texts,
                                           const std::map<std::string, double>& numbers, const std::string& group) {
  tensorboard::Event event;
  event.set_wall_time(now_());
  tensorboard::HparamsPluginData data;
  tensorboard::SessionStart* start = data.mutable_session_start_info();
  for (const auto& [name, text] : texts) (*start->mutable_hparams())[name].set_string_value(text);
  for (const auto& [name, number] : numbers) (*start->mutable_hparams())[name].set_number_value(number);
  start->set_group_name(group);
  start->set_start_time_secs(event.wall_time());
  AddPluginData("_hparams_/session_start_info", data, event.mutable_summary());
  Append(Serialized(event));
}

void TensorboardWriter::AddEnd(bool success) {
  tensorboard::Event event;
  event.set_wall_time(now_());
  tensorboard::HparamsPluginData data;
  data.mutable_session_end_info()->set_status(success ? 1 : 2);
  data.mutable_session_end_info()->set_end_time_secs(event.wall_time());
  AddPluginData("_hparams_/session_end_info", data, event.mutable_summary());
  Append(Serialized(event));
}

absl::Status TensorboardWriter::Flush() {
  const int fd = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::PermissionDeniedError(absl::StrCat(path_, ": cannot be written: ", std::strerror(errno)));
  absl::string_view rest = pending_;
  while (!rest.empty()) {
    const ssize_t n = write(fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const std::string reason = std::strerror(errno);
      close(fd);
      return absl::ResourceExhaustedError(absl::StrCat(path_, ": cannot be written: ", reason));
    }
    rest.remove_prefix(static_cast<size_t>(n));
  }
  pending_.clear();
  close(fd);
  return absl::OkStatus();
}

}  // namespace prunelab
