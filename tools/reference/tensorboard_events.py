"""Compares event files with TensorBoard's own reader and writer. It needs the packages tensorboard, numpy and protobuf.

python3 tools/reference/tensorboard_events.py values > experiments/runs/tensorboard_values.h
    what TensorBoard's classes serialise for the events of experiments/runs/tensorboard_writer_test.cc
python3 tools/reference/tensorboard_events.py check runs/digits/dynamic_l1/cov/1
    compares the scalars that its reader finds in a run's folder with epochs.jsonl
"""

import glob
import json
import math
import os
import struct
import sys

import numpy
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import plugin_data_pb2, summary_v2
from tensorboard.summary.writer.record_writer import RecordWriter


def values():
    """The frames of the events that the test writes at times 100, 101, ..."""
    # One entry each, because the order of a map's entries is not guaranteed.
    arm = plugin_data_pb2.SessionStartInfo(group_name="none/cov", start_time_secs=101)
    arm.hparams["arm"].string_value = "none/cov"
    seed = plugin_data_pb2.SessionStartInfo(group_name="none/cov", start_time_secs=102)
    seed.hparams["seed"].number_value = 3
    end = plugin_data_pb2.SessionEndInfo(status=1, end_time_secs=106)

    def hparams(field, data, tag):
        content = plugin_data_pb2.HParamsPluginData(**{field: data})
        value = summary_pb2.Summary.Value(tag=tag, tensor=summary_v2.metadata.NULL_TENSOR)
        value.metadata.CopyFrom(summary_v2.metadata.create_summary_metadata(content))
        return summary_pb2.Summary(value=[value])

    sample = [1.0, 2.0, 2.5, 5.0]
    counts, edges = numpy.histogram(sample, bins=4)
    assert list(counts) == [1, 2, 0, 1], counts  # 2 lies on an edge: TensorBoard's buckets end with it, numpy's begin
    histogram = summary_pb2.HistogramProto(
        min=1,
        max=5,
        num=4,
        sum=sum(sample),
        sum_squares=sum(x * x for x in sample),
        bucket_limit=edges[1:],
        bucket=[2, 1, 0, 1],
    )
    events = [
        event_pb2.Event(wall_time=100, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=101, summary=hparams("session_start_info", arm, "_hparams_/session_start_info")),
        event_pb2.Event(wall_time=102, summary=hparams("session_start_info", seed, "_hparams_/session_start_info")),
        event_pb2.Event(
            wall_time=103,
            step=7,
            summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="test_top1", simple_value=0.8125)]),
        ),
        event_pb2.Event(
            wall_time=104,
            step=7,
            summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="train_loss", simple_value=float("nan"))]),
        ),
        event_pb2.Event(
            wall_time=105,
            step=7,
            summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="importance/conv1", histo=histogram)]),
        ),
        event_pb2.Event(wall_time=106, summary=hparams("session_end_info", end, "_hparams_/session_end_info")),
    ]

    class Sink:
        def __init__(self):
            self.bytes = b""

        def write(self, data):
            self.bytes += data

    print("// Made by tools/reference/tensorboard_events.py: frames by TensorBoard's own RecordWriter, in hexadecimal.")
    print("#pragma once\n\nnamespace prunelab {\n\ninline constexpr const char* kTensorboardFrames[] = {")
    for event in events:
        sink = Sink()
        RecordWriter(sink).write(event.SerializeToString(deterministic=True))
        digits = sink.bytes.hex()
        for at in range(0, len(digits), 100):
            print(f'    "{digits[at:at + 100]}"' + ("," if at + 100 >= len(digits) else ""))
    print("};\n\n}  // namespace prunelab")


def check(folder):
    """Every number of epochs.jsonl is a scalar in the events, and the other way round."""
    reader = event_accumulator.EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0})
    reader.Reload()
    with open(os.path.join(folder, "epochs.jsonl")) as file:
        epochs = [json.loads(line) for line in file]
    expected = {}
    for epoch in epochs:
        for key, value in epoch.items():
            if key in ("epoch", "crc32c", "diverged") or value is None:
                continue
            items = {f"live_filters/{name}": n for name, n in value.items()} if key == "live_filters" else {key: value}
            for tag, number in items.items():
                expected.setdefault(tag, []).append((epoch["epoch"], struct.unpack("f", struct.pack("f", number))[0]))
    found = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    for tag, list_ in found.items():
        found[tag] = [(step, value) for step, value in list_ if math.isfinite(value)]
    assert found == expected, {tag: (found.get(tag), expected.get(tag)) for tag in set(found) ^ set(expected) or found}
    histograms = reader.Tags()["histograms"]
    for tag in histograms:
        for event in reader.Histograms(tag):
            assert event.histogram_value.num == sum(event.histogram_value.bucket) > 0, tag
    hparams = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(hparams).session_start_info
    print(
        f"{folder}: {sum(map(len, found.values()))} scalars of {len(found)} tags equal epochs.jsonl (as float32); "
        f"{len(histograms)} histograms; hparams arm {start.hparams['arm'].string_value}, "
        f"seed {start.hparams['seed'].number_value:g}"
    )


if sys.argv[1] == "values":
    values()
else:
    for folder in sys.argv[2:]:
        assert glob.glob(os.path.join(folder, "events.out.tfevents.*")), f"{folder} has no event file"
        check(folder)
