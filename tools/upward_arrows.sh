#!/bin/bash
# Asks Bazel which targets depend on a folder that is not below their own (docs/architecture.md), and prints them:
#
#   ./tools/upward_arrows.sh
#
# It prints nothing where no dependency leads upwards, and then no circle of folders can exist either. Where it prints
# something it ends with status 1.
set -eu
cd "$(dirname "$0")/.."

# From the bottom to the top. Folders of one line do not use each other.
levels=(
  "//ml/base/..."
  "//ml/distributed/... //ml/kernels/... //ml/network/... //ml/safetensors/... //ml/statistics/..."
  "//ml/data/..."
  "//ml/models/..."
  "//ml/execution/..."
  "//ml/deep_compression/..."
  "//ml/onnx/..."
  "//ml/compression/... //ml/pruning/... //ml/regularizers/..."
  "//ml/quantization/..."
  "//ml/training/..."
  "//results/... //experiments/configs/..."
  "//experiments/config/..."
  "//experiments/records/..."
  "//experiments/search/..."
  "//experiments/reporting/... //experiments/runs/..."
  "//experiments/sweep/..."
  "//experiments:all"
  "//tools/..."
  "//experiments/tests/..."
  "//package/..."
)
ours="//ml/... + //experiments/... + //package/... + //results/... + //tools/..."
below=""
upwards=""
for level in "${levels[@]}"; do
  for folder in $level; do
    upwards+="${upwards:+ + }(deps($folder, 1) except ($folder$below))"
  done
  for folder in $level; do
    below+=" + $folder"
  done
done
found=$(./bazelw query --noshow_progress --noimplicit_deps "($upwards) intersect ($ours)")
[ -z "$found" ] && exit 0
echo "$found" | sed 's/^/used from below, or from a folder beside it: /'
exit 1
