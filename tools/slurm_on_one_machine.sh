#!/bin/bash
# Starts a real Slurm of one node on this machine, as root and without systemd, for trying job scripts. It needs
# Debian's packages slurm-wlm and munge.
#
#   tools/slurm_on_one_machine.sh start DIR [PORT]    then: export SLURM_CONF=DIR/slurm.conf
#   tools/slurm_on_one_machine.sh stop DIR
set -eu

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
[ $# -ge 2 ] || usage

start() {
  mkdir -p "$1"
  local dir port=${2:-16817} program
  dir=$(cd "$1" && pwd)
  for program in munged slurmctld slurmd; do
    command -v $program >/dev/null || {
      echo "$program is missing: apt-get install slurm-wlm munge" >&2
      exit 1
    }
  done
  mkdir -p "$dir/state" "$dir/spool" "$dir/log" "$dir/munge"
  chmod 711 "$dir/munge"
  cat >"$dir/slurm.conf" <<END
ClusterName=one
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
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
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
END
  # Nothing above uses control groups, but slurmd ends if it is to find out their version and none are mounted (a container,
  # a chroot). The name of a version keeps it from looking; "disabled" would be plainer, but Slurm 22.05 does not know it.
  echo "CgroupPlugin=cgroup/v1" >"$dir/cgroup.conf"
  [ -f "$dir/munge/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge/munge.key")
  munged --key-file="$dir/munge/munge.key" --socket="$dir/munge/munge.sock" --pid-file="$dir/munge/munged.pid" \
    --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/munged.seed"
  SLURM_CONF=$dir/slurm.conf slurmctld -c
  SLURM_CONF=$dir/slurm.conf slurmd -N localhost
}

stop() {
  local file
  for file in "$1/slurmd.pid" "$1/slurmctld.pid" "$1/munge/munged.pid"; do
    [ ! -f "$file" ] || kill "$(cat "$file")" || true
  done
}

case $1 in
  start | stop) "$@" ;;
  *) usage ;;
esac
