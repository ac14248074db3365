#!/bin/bash
# What a person may get wrong on the command line and in files: exit status 2, one clear message with place and remedy, and
# nothing left behind.
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
bad_config "unlinked plugin names a target" "_registration" "$(echo "$good" | sed 's/ResNetCifar/Transformer/')"
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
bad_config "data folder missing" "cifar" "$cifar"
mkdir cifar
bad_config "data file missing" "data_batch_1.bin" "$cifar"
for file in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do head -c 5000 /dev/zero >cifar/$file.bin; done
bad_config "data file truncated" "30730000" "$cifar"
rm -r cifar

printf '%s\n' "$good" >config.textproto
: >file
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

echo "$failures failures"
[ $failures = 0 ]
