#!/bin/sh
# Runs the program of this name in libexec/, with the LibTorch that prunelab-env finds.
self=$(readlink -f "$0")
root=${self%/bin/*}
exec "$root/bin/prunelab-env" "$root/libexec/${self##*/}" "$@"
