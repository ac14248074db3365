#!/bin/bash
# Runs the package on a bare Debian: made by debootstrap, torch from pip in a virtual environment, a user who is not root. It
# trains the digits there without a network, and the records must be those of the program in Bazel's output folder. As root:
#
#   ./bazelw build //:package //experiments:ablation
#   tools/package_in_chroot.sh bazel-bin/package/prunelab-*-cpu-x86_64.tar.zst bazel-bin/experiments/ablation
#
# Variables:
#   SUITE     Debian's release (bookworm)
#   MIRROR    where it comes from (the first source of this machine's apt)
#   SITE      a site-packages folder to copy torch and NVIDIA's libraries from, instead of asking pip for them
#   TRAINING  flags for both programs (all of configs/digits.textproto)
#   COMMAND   a shell command that is run at the end in the package's folder, e.g. bin/prunelab-env
set -eu
if [ $# != 2 ] || [ ! -f "$1" ] || [ ! -x "$2" ]; then
  echo "give the package and the program to compare with: $0 bazel-bin/package/prunelab-... bazel-bin/experiments/ablation" >&2
  exit 2
fi
if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
  echo "this needs root, and Debian's package debootstrap" >&2
  exit 2
fi
archive=$(readlink -f "$1")
program=$(readlink -f "$2")
package=$(basename "$archive" .tar.zst)
suite=${SUITE:-bookworm}
training=${TRAINING:---jobs=2 --threads_per_run=1}
mirror=${MIRROR:-$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
  grep -oE '^(URIs: *|deb (\[[^]]*\] )?)[a-z]+://[^ ]*debian/?' | grep -oE '[a-z]+://.*' | head -n 1)}
if [ -z "$mirror" ]; then
  echo "this machine's apt names no source of Debian; give one by MIRROR=..." >&2
  exit 2
fi

work=$(mktemp -d)
root=$work/root
finish() {
  umount -l "$root/proc" "$root/dev" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT

echo "== $suite from $mirror"
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$root" "$mirror" >"$work/log" 2>&1 || {
  tail -n 20 "$work/log" >&2
  exit 1
}
# How this machine reaches the network: names, certificates, pip's configuration.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  [ ! -f $file ] || cp -L --remove-destination $file "$root$file"
done
chroot "$root" useradd --create-home user
home=$root/home/user
[ ! -f ~/.config/pip/pip.conf ] || install -D ~/.config/pip/pip.conf "$home/.config/pip/pip.conf"
tar --zstd -xf "$archive" -C "$home"
chroot "$root" chown -R user:user /home/user
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"

# as_user COMMAND [WRAPPER...]: in the package's folder, with nothing of this shell's environment but the way to the network.
as_user() {
  local command=$1
  shift
  "$@" chroot --userspec=user:user "$root" /usr/bin/env -i HOME=/home/user PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt ${https_proxy:+https_proxy="$https_proxy"} \
    sh -c "cd /home/user/$package && $command"
}

echo "== without torch"
if as_user "bin/prunelab-env" >"$work/log" 2>&1; then
  echo "prunelab-env found a torch where there is none:" >&2
  cat "$work/log" >&2
  exit 1
fi
cat "$work/log"

echo "== torch"
activate=". ../venv/bin/activate"
as_user "python3 -m venv ../venv"
if [ -n "${SITE:-}" ]; then
  cp -rL "$SITE/torch" "$SITE/nvidia" "$home"/venv/lib/python3*/site-packages/
else
  # The versions that are pinned, in the wheels for this Python.
  as_user "$activate && pip install --quiet --no-cache-dir --no-deps \$(cut -d' ' -f1 libexec/requirements.txt)"
fi
as_user "$activate && bin/prunelab-env"

echo "== digits, in the package"
as_user "$activate && bin/ablation --config=configs/digits.textproto --device=cpu $training --output=../digits" unshare --net
echo "== digits, in place"
# shellcheck disable=SC2086  # several flags
"$program" --config="$home/$package/configs/digits.textproto" --device=cpu $training --output="$work/digits"

# What a run computed; none of these files holds times.
records() {
  cd "$1"
  find . -name epochs.jsonl -o -name result.json -o -name last.safetensors | sort | xargs sha256sum
}
(records "$home/digits") >"$work/packed"
(records "$work/digits") >"$work/in_place"
[ -s "$work/in_place" ] && cmp "$work/packed" "$work/in_place"
echo "== the same records: $(wc -l <"$work/packed") files, byte for byte"
if [ -n "${COMMAND:-}" ]; then
  echo "== $COMMAND"
  as_user "$activate && $COMMAND"
fi
