#!/bin/bash
# Starts a real Slurm on this machine, as root and without systemd, for trying job scripts. It needs Debian's packages
# slurm-wlm and munge. It has one node, or as many as are asked for: then each is a host of its own, in a network namespace.
#
#   tools/slurm_on_one_machine.sh start DIR [PORT [NODES]]    then: export SLURM_CONF=DIR/slurm.conf
#   tools/slurm_on_one_machine.sh stop DIR
set -eu

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
[ $# -ge 2 ] || usage

start() {
  mkdir -p "$1"
  local dir port=${2:-16817} nodes=${3:-1} program
  dir=$(cd "$1" && pwd)
  for program in munged slurmctld slurmd; do
    command -v $program >/dev/null || {
      echo "$program is missing: apt-get install slurm-wlm munge" >&2
      exit 1
    }
  done
  mkdir -p "$dir/state" "$dir/spool" "$dir/log" "$dir/munge"
  chmod 711 "$dir/munge"
  local controller=localhost affinity=task/affinity node names=
  if [ "$nodes" -gt 1 ]; then
    make_hosts "$dir" "$port" "$nodes"
    controller="$(hostname)($(cat "$dir/network").254)"
    affinity=task/none  # all nodes have the same cores
  fi
  cat >"$dir/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$controller
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=$affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=10
MinJobAge=300
MailProg=/bin/true
$(if [ "$nodes" = 1 ]; then
  echo "NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2000 State=UNKNOWN"
else
  for node in $(seq "$nodes"); do
    echo "NodeName=node$node NodeAddr=$(cat "$dir/network").$node CPUs=$(nproc) RealMemory=2000 State=UNKNOWN"
  done
fi)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  # Nothing above uses control groups, but slurmd ends if it is to find out their version and none are mounted (a container,
  # a chroot). The name of a version keeps it from looking; "disabled" would be plainer, but Slurm 22.05 does not know it.
  echo "CgroupPlugin=cgroup/v1" >"$dir/cgroup.conf"
  [ -f "$dir/munge/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge/munge.key")
  munged --key-file="$dir/munge/munge.key" --socket="$dir/munge/munge.sock" --pid-file="$dir/munge/munged.pid" \
    --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/munged.seed"
  SLURM_CONF=$dir/slurm.conf slurmctld -c
  if [ "$nodes" = 1 ]; then
    SLURM_CONF=$dir/slurm.conf slurmd -N localhost
    return
  fi
  for node in $(seq "$nodes"); do
    SLURM_CONF=$dir/slurm.conf ip netns exec "sl${port}n$node" unshare --uts \
      sh -c "hostname node$node && exec slurmd -N node$node"
  done
}

# Network namespaces on one bridge, which is the controller's network: 10.x.y.1, 10.x.y.2, ... and 10.x.y.254.
make_hosts() {
  local dir=$1 port=$2 nodes=$3 node name network
  network=10.$((port / 250 % 250)).$((port % 250))
  echo "$network" >"$dir/network"
  echo "sl$port" >"$dir/bridge"
  ip link add "sl$port" type bridge
  ip addr add "$network.254/24" dev "sl$port"
  ip link set "sl$port" up
  for node in $(seq "$nodes"); do
    name=sl${port}n$node
    echo "$name" >>"$dir/hosts"
    ip netns add "$name"
    ip link add "sl${port}v$node" type veth peer name eth0 netns "$name"
    ip link set "sl${port}v$node" master "sl$port" up
    ip -n "$name" addr add "$network.$node/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" link set lo up
  done
}

stop() {
  local file
  for file in "$1"/slurmd.*.pid "$1/slurmctld.pid" "$1/munge/munged.pid"; do
    [ ! -f "$file" ] || kill "$(cat "$file")" || true
  done
  [ -f "$1/hosts" ] || return 0
  sleep 1
  for file in $(cat "$1/hosts"); do ip netns del "$file" || true; done
  ip link del "$(cat "$1/bridge")" || true
}

case $1 in
  start | stop) "$@" ;;
  *) usage ;;
esac
