#!/usr/bin/env bash
# A SLURM of one machine from Debian's packages, and a sweep on it whose jobs are stopped in every way.
#
#     sudo bash scripts/slurm_machine.sh [FOLDER]
#
# It installs slurmctld, slurmd and munge if they are missing, starts them with their files in a temporary folder, and
# stops them at the end. Accounting is off. A job of the sweep is requeued with `scontrol requeue` in the middle; every
# job that reaches its time limit (TIMEOUT_MIN) saves itself SIGNAL_S seconds earlier and is queued again. Then the same
# command must find everything finished, and every run must equal one that SLURM had nothing to do with, bit for bit. At
# last a job is ended with `scancel`, and resumed by typing the command again. FOLDER keeps the runs; PYTHON names the
# interpreter, EPOCHS the length of the runs, CPUS the cores that SLURM gives out. With `--only-start` it starts SLURM,
# prints how to use it, and waits for Ctrl-C.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$here/.venv/bin/python}"
state="$(mktemp -d)"
only_start=false
if [[ "${1:-}" == --only-start ]]; then
    only_start=true
    shift
fi
folder="${1:-$state/runs}"
mkdir -p "$folder"
cores="${CPUS:-$(nproc)}"
machine="$(hostname -s)"
started=()

stop() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
}
trap stop EXIT

if ! command -v slurmctld slurmd munged sbatch >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
fi

[[ -s /etc/munge/munge.key ]] || mungekey --create
mkdir -p /run/munge
chown munge: /etc/munge/munge.key /run/munge
munge -n >/dev/null 2>&1 || {
    runuser -u munge -- munged --foreground >"$state/munged.log" 2>&1 &
    started+=($!)
}

mkdir -p "$state/ctld" "$state/d"
cat >"$state/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$machine(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=60
MinJobAge=3600
SchedulerParameters=sched_interval=5,requeue_delay=1
NodeName=$machine NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=main Nodes=$machine Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$state/slurm.conf"
setsid slurmctld -D >/dev/null 2>&1 &
started+=($!)
setsid slurmd -D -N "$machine" >/dev/null 2>&1 &
started+=($!)
for _ in $(seq 120); do
    [[ "$(sinfo -h -o %T 2>/dev/null)" == idle ]] && break
    sleep 1
done
sinfo

if $only_start; then
    echo "SLURM runs; in another terminal: export SLURM_CONF=$SLURM_CONF"
    wait
    exit
fi

seeds="${SEEDS:-0,1,2}"
settings=(recipe.epochs="${EPOCHS:-400}" dataset.train_rows=300 tracking=jsonl tracking.report=false
    checkpoint_every_s=1 hardware=cpu hardware.threads=1)
launcher=(hydra/launcher=slurm hydra.launcher.partition=main hydra.launcher.gpus_per_node=null
    hydra.launcher.cpus_per_task=1 "hydra.launcher.timeout_min=${TIMEOUT_MIN:-2}"
    "hydra.launcher.signal_delay_s=${SIGNAL_S:-60}")

train() {
    (cd "$folder" && "$python" -m ast_experiments.cli.train "$@")
}

# The name of a job's directory holds its seed.
run_of() {
    find "$folder/outputs/sweeps/slurm" -maxdepth 1 -name "*seed=$1-*" -print -quit 2>/dev/null || true
}

entry() {
    "$python" -c 'import json, sys; print(json.load(open(sys.argv[1] + "/result.json")).get(sys.argv[2]))' "$@"
}

# The owner of a run's directory is the process of its job.
job_of() {
    local pid
    pid="$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1] + "/.owner"))["pid"])' "$(run_of "$1")")"
    tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^SLURM_JOB_ID=//p'
}

echo "== a sweep: seed 1 is requeued in the middle, the time limit takes who reaches it"
train -m group=slurm "seed=$seeds" "${settings[@]}" "${launcher[@]}" 2> >(grep -v -e sacct -e "accounting storage" >&2) &
sweep=$!
for _ in $(seq 600); do
    place="$(run_of 1)"
    [[ -n "$place" && -e "$place/checkpoints/last.pt" ]] && break
    sleep 0.5
done
job="$(job_of 1)"
echo "scontrol requeue $job"
scontrol requeue "$job"
wait "$sweep"

echo "== the same command again: nothing is repeated"
train -m group=slurm "seed=$seeds" "${settings[@]}" "${launcher[@]}" | grep -c "finished already" || true

echo "== against runs without SLURM"
for seed in ${seeds//,/ }; do
    train "seed=$seed" group=slurm "${settings[@]}" "hydra.run.dir=$folder/alone_$seed" >/dev/null
    place="$(run_of "$seed")"
    same=different
    if [[ "$(entry "$place" final_val_loss)" == "$(entry "$folder/alone_$seed" final_val_loss)" ]]; then
        same=bit-equal
    fi
    echo "seed $seed: $(entry "$place" status), resumed $(entry "$place" resumed) times, $same"
done

echo "== scancel: saved, ended for good, resumed by the same command"
again=(-m group=slurm seed=9 "${settings[@]}" "${launcher[@]}")
train "${again[@]}" &
sweep=$!
for _ in $(seq 600); do
    place="$(run_of 9)"
    [[ -n "$place" && -e "$place/checkpoints/last.pt" ]] && break
    sleep 0.5
done
scancel "$(job_of 9)"
wait "$sweep" || echo "the sweep ended with exit code $?"
echo "after scancel: $(entry "$place" status) $(entry "$place" error)"
train "${again[@]}"
echo "after the same command: $(entry "$place" status), resumed $(entry "$place" resumed) times"
