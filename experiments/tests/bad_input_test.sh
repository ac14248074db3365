#!/bin/bash
# Mistakes on the command line and in files: exit status 2, one clear message with place and remedy, and no files left.
set -u
ablation=$PWD/$1
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/bad_input.XXXX")
cd "$work" || exit 1
export BUILD_WORKING_DIRECTORY=$work
failures=0

good='name: "a"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 } }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: 1 batch_size: 64 }
}
seeds { count: 1 }'

# refused NAME EXPECTED_TEXT ARGUMENTS...
refused() {
  local name=$1 expected=$2
  shift 2
  find . | sort >before.list
  message=$("$ablation" "$@" 2>&1 >stdout.txt)
  status=$?
  rm -f stdout.txt
  find . | sort >after.list
  local problem=
  [ $status = 2 ] || problem="status $status instead of 2"
  case $message in
    *"$expected"*) ;;
    *) problem="$problem; no \"$expected\" in: $message" ;;
  esac
  diff <(grep -v '\.list$' before.list) <(grep -vE '\.list$|stdout.txt' after.list) >/dev/null || problem="$problem; left files behind"
  if [ -n "$problem" ]; then
    echo "FAIL $name: $problem"
    failures=$((failures + 1))
  else
    echo "ok $name"
  fi
}
# bad_config NAME EXPECTED_TEXT CONFIG_TEXT
bad_config() {
  printf '%s\n' "$3" >config.textproto
  refused "$1" "$2" --config=config.textproto --output=out
}

refused "no config" "--config is missing"
refused "unreadable config" "missing.textproto" --config=missing.textproto
: >empty.textproto
refused "empty config" "empty" --config=empty.textproto
bad_config "syntax error" "config.textproto:2:8" "name: \"a\"
base { = }"
bad_config "unknown field" "config.textproto:8:1" "$good
epoch: 3"
bad_config "unlinked plugin" "prunelab.ResNetCifar" "$(echo "$good" | sed 's/ResNetCifar/Transformer/')"
bad_config "unlinked plugin names a target" "link its target" "$(echo "$good" | sed 's/ResNetCifar/Transformer/')"
bad_config "wrong kind" "not a network" "$(echo "$good" | sed 's/prunelab.ResNetCifar\] { depth: 8 }/prunelab.Digits] {}/')"
bad_config "rate of 1" "config.textproto:8:" "$good
factor { name: 'p' level { name: 'x' patch { pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: 1 } } } } }"
bad_config "rate not a number" "[0, 1)" "$good
factor { name: 'p' level { name: 'x' patch { pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: nan } } } } }"
bad_config "period 0" "period" "$good
factor { name: 'p' level { name: 'x' patch { pruning { [type.googleapis.com/prunelab.DynamicL1] { period: 0 } } } } }"
bad_config "batch size 0" "config.textproto:5:" "$(echo "$good" | sed 's/batch_size: 64/batch_size: 0/')"
bad_config "batch larger than the data" "batch_size" "$(echo "$good" | sed 's/batch_size: 64/batch_size: 5000/')"
bad_config "comparison naming no arm" "nobody" "$good
comparison { treatment: 'nobody' control: 'base' }"
bad_config "exclusion naming no arm" "nobody" "$good
exclude: 'nobody'"
bad_config "two levels of one name" "config.textproto:8:" "$good
factor { name: 'p' level { name: 'x' } level { name: 'x' } }"
bad_config "name that leaves the folder" "config.textproto:1:" "$(echo "$good" | sed 's/name: "a"/name: "..\/a"/')"

cifar=$(echo "$good" | sed "s/prunelab.Digits\] {}/prunelab.Cifar10] { path: 'cifar' }/")
bad_config "data folder missing" "config.textproto:4:54: arm \"base\": dataset.path: $work/cifar: no such folder" "$cifar"
bad_config "data folder missing, where it was looked for" "; relative paths are taken from $work" "$cifar"
mkdir cifar
bad_config "data file missing" "data_batch_1.bin" "$cifar"
for file in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do head -c 5000 /dev/zero >cifar/$file.bin; done
bad_config "data file truncated" "30730000" "$cifar"
rm -r cifar

bad_config "typographic quotes" "config.textproto:1:7: “ is a typographic quote (U+201C); write \"" "$(echo "$good" | sed 's/"a"/“a”/')"
bad_config "a decimal comma" "config.textproto:5:60: \"0,1\" has a comma in a number; write 0.1" \
  "$(echo "$good" | sed 's/batch_size: 64/batch_size: 64 sgd { learning_rate: 0,1 }/')"
printf '%s\n' "$good" | iconv -t UTF-16 >config.textproto
refused "UTF-16" "config.textproto:1:1: the text is UTF-16" --config=config.textproto --output=out
# Every file that an ablation writes, also in other letters.
level() { printf '%s\n' "$good factor { name: 'p' level { name: '$1' } }"; }
for name in results.csv Report.HTML summary.md summary.tex comparisons.json ablation.textproto planned.textproto result.json; do
  bad_config "a level called $name" "config.textproto:7:" "$(level "$name")"
  bad_config "a level called $name, why" "which is the name of a file of the results" "$(level "$name")"
done
weights=$(echo "$good" | sed "6s/.*/  initial_weights: 'w.safetensors'\n}/")
no_weights="config.textproto:6:3: arm \"base\": initial_weights: w.safetensors: no such file in $work; relative paths are taken from there"
bad_config "weights missing" "$no_weights" "$weights"
"$ablation" --config=config.textproto --output=out --dry_run 2>&1 | grep -qF "$no_weights" || { echo "FAIL a dry run does not say that weights are missing"; failures=$((failures + 1)); }
bad_config "weights with the network missing" "config.textproto:6:3: arm \"base\": initial_weights: w.safetensors: no such file in $work" "$(echo "$weights" | sed 3d | sed '5s/^/\n/')"
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n' >w.safetensors
bad_config "weights that were not fetched" "config.textproto:6:3: arm \"base\": initial_weights: w.safetensors: not a valid safetensors file: it is a Git LFS pointer" "$weights"
refused "weights that were not fetched, in a dry run" "git lfs pull" --config=config.textproto --output=out --dry_run
bad_config "fresh weights of none" "config.textproto:6:3: fresh_weights: goes with initial_weights" "$(echo "$weights" | sed "s/initial_weights: .*/fresh_weights: 'fc.*'/")"
bad_config "a prefix of none" "config.textproto:6:3: initial_weights_prefix: goes with initial_weights" "$(echo "$weights" | sed "s/initial_weights: .*/initial_weights_prefix: 'auto'/")"
rm w.safetensors

printf '%s\n' "$good" >config.textproto
: >file
refused "unknown flag" "--epochs is not a flag; there are --arms" --config=config.textproto --epochs=3
refused "misspelt flag" "--outptu is not a flag; did you mean --output?" --config=config.textproto --outptu=x
refused "flag without a value" "--output has no value" --config=config.textproto --output --dry_run
refused "flag with an empty value" "--seeds= has no value" --config=config.textproto --seeds=
refused "bad value" "--jobs=two: must be a whole number" --config=config.textproto --jobs=two
refused "no flag" '"config.textproto" is not a flag' config.textproto
refused "output below a file" "file" --config=config.textproto --output=file/out
refused "no such arm" "nobody" --config=config.textproto --output=out --arms=nobody
refused "seeds backwards" "seeds" --config=config.textproto --output=out --seeds=5-2
refused "unknown device" "--device=tpu" --config=config.textproto --output=out --device=tpu
if [ ! -e /dev/nvidia0 ]; then
  refused "cuda without a device" "--device=cuda" --config=config.textproto --output=out --device=cuda
fi
refused "bad override" "--override:1:" --config=config.textproto --output=out --override='base { trainin {} }'

"$ablation" --config=config.textproto --output=out >/dev/null 2>&1 || { echo "FAIL the good config does not run"; failures=$((failures + 1)); }
refused "a changed arm" "momentum" --config=config.textproto --output=out --override='base { training { sgd { momentum: 0.5 } } }'
"$ablation" --config=config.textproto --output=out 2>/dev/null | grep -q "were done already" || { echo "FAIL the second call does not say that all is done"; failures=$((failures + 1)); }

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
flags=(--jobs=1 --threads_per_run=1)
for name in $(cd out && find . -maxdepth 1 -type f ! -name '.*') $(cd out/base/1 && find . -type f ! -name '.*'); do
  name=${name#./}
  bad_config "a level called $name, which is there" "a file of the results" "$(level "$name")"
done
printf '%s\n' "$good" >config.textproto

text=$("$ablation" --help 2>err.txt)
holds "help" "$? $text" "0 ablation: runs an ablation over seeds"
[ -s err.txt ] && echo "FAIL help says: $(cat err.txt)" && failures=$((failures + 1))
for arguments in --help --list "--config=config.textproto --dry_run"; do
  text=$("$ablation" $arguments 2>&1 >/dev/full)
  holds "$arguments to a full disk" "$? $text" "1 standard output cannot be written"
done

# A byte order mark before the text, which some editors write.
(printf '\xef\xbb\xbf' && cat config.textproto) >marked.textproto
text=$("$ablation" --config=marked.textproto --dry_run --output=out 2>&1)
holds "a byte order mark" "$? $text" "1 of them done"

# A home folder that the shell did not expand.
text=$(HOME=$work/home "$ablation" --config=config.textproto --dry_run --output='~/x' 2>&1)
holds "a home" "$text" "output $work/home/x"

# A report that cannot be written.
mv out/report.html kept.html && mkdir out/report.html
text=$("$ablation" --config=config.textproto --output=out 2>&1 >/dev/null)
holds "no report" "$? $text" "1 no report could be made: $work/out/report.html: is a folder"
rmdir out/report.html && mv kept.html out/report.html

# Other people's files stay, even those that are named like a temporary file.
mkdir -p others/base/1
for name in others/{notes.tmp.2024,results.csv.tmp.1,model.pt.tmp.0123456789abcdef0123456789abcdef} others/base/1/mine.tmp.7; do
  echo precious >$name
done
"$ablation" --config=config.textproto --output=others "${flags[@]}" >/dev/null 2>&1
holds "others' files" "$? $(cat others/*.tmp.* others/base/1/*.tmp.* | tr '\n' ' ')" "0 precious precious precious precious"

# A run whose folder cannot be created, and which therefore never began.
printf '%s\n' "$(level x)" >level.textproto
mkdir blocked && : >blocked/x
text=$("$ablation" --config=level.textproto --output=blocked "${flags[@]}" 2>&1 >/dev/null)
holds "a run that never began" "$? $text" "[1/1] x seed 1  failed: "
holds "a run that never began, its time" "$text" "  0 s"

# The ablation's own copy does not overwrite the config, unless they say the same.
mkdir own && (echo "# mine" && cat config.textproto) >own/ablation.textproto
refused "the config in the results" "is the file ablation.textproto of the results" --config=own/ablation.textproto --output=./own
text=$("$ablation" --config=out/ablation.textproto --output=out 2>&1)
holds "the ablation's own copy" "$? $text" "were done already"

# Initial weights that the run would overwrite.
mkdir -p started/base/1 && cp out/base/1/last.safetensors started/base/1/
echo "$good" | sed "s/^  network.*/  initial_weights: 'started\/base\/.\/1\/last.safetensors'/" >weights.textproto
refused "weights that the run writes" "is the file that base seed 1 writes" --config=weights.textproto --output=started

# No shell sees the path of the workspace.
if git --version >/dev/null 2>&1; then
  workspace="$work/o'brien \$(touch ran)"
  mkdir "$workspace" && git -C "$workspace" init -q && echo x >"$workspace/x"
  git -C "$workspace" add x && git -C "$workspace" -c user.name=a -c user.email=a@b commit -qm x
  text=$(BUILD_WORKSPACE_DIRECTORY=$workspace "$ablation" --config=config.textproto --output=revision "${flags[@]}" 2>&1)
  holds "a workspace with a quote" "$(cat revision/base/1/provenance.json)" "\"code_revision\": \"$(git -C "$workspace" rev-parse HEAD)\""
  BUILD_WORKSPACE_DIRECTORY="/x'; touch '$work/ran'; echo '" "$ablation" --config=config.textproto --output=unknown "${flags[@]}" >/dev/null 2>&1
  holds "a workspace that is none" "$(cat unknown/base/1/provenance.json)" '"code_revision": "unknown"'
  [ -z "$(find . -name 'ran*')" ] || { echo "FAIL the path of the workspace was run"; failures=$((failures + 1)); }
fi

echo "$failures failures"
[ $failures = 0 ]
