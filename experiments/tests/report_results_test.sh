#!/bin/bash
# The reports on the results in the repository are those that their records give.
set -u
report=$PWD/$1
failures=0
for ablation in results/*/ablation.textproto; do
  folder=$(dirname "$ablation")
  output=${TEST_TMPDIR:-/tmp}/$(basename "$folder")
  text=$("$report" --results="$folder" --output="$output" 2>&1) || failures=$((failures + 1))
  # A long sweep comes into the tree a share of seeds at a time; the others are whole.
  case $folder in
    results/paper_small | results/straight_through) text=${text//Incomplete/} ;;
  esac
  case $text in
    *"eft out"* | *Incomplete* | *run_id*)
      echo "FAIL $folder: $text"
      failures=$((failures + 1))
      ;;
  esac
  for file in results.csv comparisons.json summary.md summary.tex; do
    if cmp "$folder/$file" "$output/$file"; then
      echo "ok $folder/$file"
    else
      failures=$((failures + 1))
    fi
  done
done
[ $failures = 0 ] || exit 1
