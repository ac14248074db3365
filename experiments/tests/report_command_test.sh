#!/bin/bash
# The report as users see it: at the end of an ablation, of a partial one, from the report program, and what --dry_run says
# about the seeds.
set -u
ablation=$PWD/$1
report=$PWD/$2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/report_command.XXXX")
cd "$work" || exit 1
export BUILD_WORKING_DIRECTORY=$work
failures=0

# holds NAME TEXT EXPECTED
holds() {
  case $2 in
    *"$3"*) echo "ok $1" ;;
    *)
      echo "FAIL $1: no \"$3\" in: $2"
      failures=$((failures + 1))
      ;;
  esac
}
# is_there NAME...
is_there() {
  for file in "$@"; do
    if [ -s "$file" ]; then echo "ok $file"; else
      echo "FAIL $file is not there"
      failures=$((failures + 1))
    fi
  done
}

cat >config.textproto <<'END'
name: "a"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 8 } }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: 1 batch_size: 256 }
}
factor { name: "pruning"
  level { name: "none" }
  level { name: "random" patch { pruning { [type.googleapis.com/prunelab.Random] { rate: 0.5 } } } } }
seeds { first: 1 count: 2 }
comparison { treatment: "random" control: "none" margin: 0.01 }
END

text=$("$ablation" --config=config.textproto --dry_run --device=cpu 2>&1)
holds "dry run" "$text" "smallest adjusted p that a comparison can reach is 0.500"
holds "dry run, remedy" "$text" "6 seeds are the least that can"
text=$("$ablation" --config=config.textproto --dry_run --seeds=1-10 --expected_sd=0.01 2>&1)
holds "dry run, a guess" "$text" "1.00 points by --expected_sd"
text=$("$ablation" --config=config.textproto --dry_run --expected_sd=-1 2>&1)
holds "dry run, a bad guess" "$text" "--expected_sd=-1: must be 0 or more"
text=$("$ablation" --config=config.textproto --expected_sd=0.01 2>&1)
holds "a guess without a dry run" "$text" "--expected_sd goes with --dry_run"
text=$("$ablation" --config=config.textproto --dry_run --device=gpu 2>&1)
holds "dry run, a bad device" "$text" "--device=gpu: must be auto, cpu or cuda"
[ ! -e runs ] || { echo "FAIL a dry run left files" && failures=$((failures + 1)); }

text=$("$ablation" --config=config.textproto --arms=none 2>&1)
holds "partial ablation" "$text" "no seed has a value in every arm"
is_there runs/a/report.html
text=$("$ablation" --config=config.textproto 2>&1)
holds "verdict on the terminal" "$text" "2 seeds cannot decide whatever they show"
holds "where the report is" "$text" "Report: $work/runs/a/report.html"
is_there runs/a/{report.html,comparisons.json,summary.md,summary.tex,results.csv,planned.textproto}
is_there runs/a/{none,random}/{1,2}/events.out.tfevents.0000000000.prunelab
text=$("$ablation" --config=config.textproto --seeds=1-10 --dry_run 2>&1)
holds "dry run, spread of the runs there" "$text" "in 2 pairs that are done"
text=$("$ablation" --config=config.textproto \
  --override='comparison { treatment: "none" control: "random" metric: TEST_LOSS }' 2>&1)
holds "a comparison that came later" "$text" "Written down after the first run."

# From the report program, which reads only the records.
mkdir copy && cp -r runs/a copy/ && find copy -name '*.safetensors' -delete && rm copy/a/results.csv copy/a/report.html
text=$("$report" --results=copy/a --output=copy/report 2>&1)
holds "report program" "$text" "Report: copy/report/report.html"
is_there copy/report/{report.html,comparisons.json,summary.md,summary.tex,results.csv}
cmp runs/a/comparisons.json copy/report/comparisons.json || failures=$((failures + 1))
mv copy/a 'copy/lr=0.1,wd=0'
text=$("$report" --results='copy/lr=0.1,wd=0' --output=copy/comma 2>&1)
holds "a folder with a comma" "$? $text" "0 "
cmp runs/a/comparisons.json copy/comma/comparisons.json || failures=$((failures + 1))
text=$("$report" --results='copy/lr=0.1\,wd=0,runs/a' --output=copy/comma 2>&1)
holds "a comma of a name and one between" "$? $text" "0 "
mkdir -p 'copy/lr=0.1' wd=0
text=$("$report" --results='copy/lr=0.1,wd=0' --output=copy/comma 2>&1)
holds "a comma that may be either" "$? $text" '2 --results: "copy/lr=0.1,wd=0" exists, and so do its parts'
rmdir 'copy/lr=0.1' wd=0 && mv 'copy/lr=0.1,wd=0' copy/a
text=$("$report" --results=copy/a --output=copy/full 2>&1 >/dev/full)
holds "a report that cannot be printed" "$? $text" "1 standard output cannot be written"
sed -i 's/"test_top1":0/"test_top1":1/' copy/a/random/2/epochs.jsonl
text=$("$report" --results=copy/a 2>&1)
holds "an edited record" "$text" "Left out: random seed 2: epochs.jsonl line 1"
sed -i 's/width: 8/width: 16/' copy/a/none/*/config.textproto
text=$("$report" --results=copy/a 2>&1)
holds "an edited config" "$text" "none seed 1, none seed 2: another config than ablation.textproto gives the arm, - network.width: 8"
# Edited so that it agrees with the ablation: the run's identity shows it.
sed -i 's/width: 8/width: 16/' copy/a/ablation.textproto
text=$("$report" --results=copy/a 2>&1)
holds "both edited" "$text" "with a run_id that is not that of their config, seed and data"

[ $failures = 0 ] || exit 1
