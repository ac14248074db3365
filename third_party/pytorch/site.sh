#!/bin/sh
# Makes `site`, a folder for PYTHONPATH, of the unpacked wheels in the working folder and of torch. Argument: the folder that
# torch/ and nvidia/ are in.
#
# libtorch_cuda.so comes with torch, and is loaded with it, but the gigabytes of NVIDIA's libraries that it needs do nothing on a
# CPU. A single library takes the place of those that are missing: it has the functions that torch's libraries ask for, under the
# versions that they ask for, and stops the program if one is called.
set -eu
root=$1

mkdir -p site/torch/lib
for entry in *; do
  case $entry in
    site | requirements.txt | WORKSPACE* | BUILD*) ;;
    *) mv "$entry" site/ ;;
  esac
done
for entry in nvidia torchgen functorch; do
  if [ -e "$root/$entry" ]; then ln -s "$root/$entry" site/; fi
done
for entry in "$root"/torch/*; do
  if [ "${entry##*/}" != lib ]; then ln -s "$entry" site/torch/; fi
done
ln -s "$root"/torch/lib/* site/torch/lib/

[ -e "$root/torch/lib/libtorch_cuda.so" ] || exit 0  # a torch for the CPU alone
libraries=$(ls "$root"/torch/lib/libtorch_cuda*.so "$root"/torch/lib/libtorch_nvshmem.so "$root"/torch/lib/libtorch_python.so)
nm -D -u $libraries | awk '$2 ~ /^(cublas|cudnn|cusparse|cusolver|cufft|curand|nccl|cuFile|nvshmem)/ {print $2}' | sort -u > functions
sed 's/@.*//; s/.*/void &(void) { __builtin_trap(); }/' functions | sort -u > stand_in.c
awk -F@ 'NF > 1 {of[$NF] = of[$NF] " " $1 ";"} END {for (version in of) print version " { global:" of[version] " };"}' \
  functions > stand_in.map
gcc -w -fno-builtin -shared -fPIC -nostdlib -Wl,--version-script=stand_in.map -o site/torch/lib/libnvidia_stand_in.so stand_in.c
for needed in $(objdump -p $libraries | awk '$1 == "NEEDED" && $2 ~ /^lib(cu|nccl|nvshmem)/ {print $2}' | sort -u); do
  if [ -z "$(find -L site/nvidia -name "$needed" 2>/dev/null)" ]; then
    ln -s libnvidia_stand_in.so "site/torch/lib/$needed"
  fi
done
