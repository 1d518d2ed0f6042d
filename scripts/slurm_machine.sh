#!/usr/bin/env bash
# A SLURM of one machine from Debian's packages, and a sweep on it whose jobs are stopped in every way.
#
#     sudo bash scripts/slurm_machine.sh [FOLDER]
#
# It installs slurmctld, slurmd and munge if they are missing, starts them with their files in a temporary folder, and
# stops them at the end. Accounting is off. A job of the sweep is requeued with `scontrol requeue` in the middle; every
# job that reaches its time limit (TIMEOUT_MIN) saves itself SIGNAL_S seconds earlier, or up to a minute before that as
# SLURM looks once a minute, and is queued again: a run must take longer than that to show it. Then the same
# command must find everything finished, and every run must equal one that SLURM had nothing to do with, bit for bit. A
# job is ended with `scancel`, and resumed by typing the command again. At last, the batch script of the documentation
# for two machines runs as two tasks on this one, and is requeued too. FOLDER keeps the runs; PYTHON names the
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
    hydra.launcher.cpus_per_task=1 "hydra.launcher.timeout_min=${TIMEOUT_MIN:-3}"
    "hydra.launcher.signal_delay_s=${SIGNAL_S:-60}")
cd "$folder"

train() {
    "$python" -m ast_experiments.cli.train "$@"
}

# The name of a job's directory holds its seed.
run_of() {
    find "$folder/outputs/sweeps/slurm" -maxdepth 1 -name "*seed=$1-*" -print -quit 2>/dev/null || true
}

entry() {
    "$python" -c 'import json, sys; print(json.load(open(sys.argv[1] + "/result.json")).get(sys.argv[2]))' "$@"
}

# The owner of a run's directory is the process of its job. In an array, the number of a job may be that of all.
job_of() {
    local pid
    pid="$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1] + "/.owner"))["pid"])' "$1")"
    "$python" - "/proc/$pid/environ" <<'PYTHON'
import sys

job = dict(line.partition("=")[::2] for line in open(sys.argv[1]).read().split("\0"))
array = job.get("SLURM_ARRAY_JOB_ID")
print(f"{array}_{job['SLURM_ARRAY_TASK_ID']}" if array else job["SLURM_JOB_ID"])
PYTHON
}

# Waits until the run in a directory has written a checkpoint, and prints the directory.
saved() {
    local place=
    for _ in $(seq 1200); do
        place="$("$@")"
        [[ -n "$place" && -e "$place/checkpoints/last.pt" && -e "$place/.owner" ]] && break
        sleep 0.5
    done
    echo "$place"
}

# Says where the run stopped each time, and where it went on: from its log.
verdict() {
    local place="$1" alone="$2" same=different
    [[ "$(entry "$place" final_val_loss)" == "$(entry "$alone" final_val_loss)" ]] && same=bit-equal
    echo "$(entry "$place" status), resumed $(entry "$place" resumed) times, $same to a run without SLURM"
    grep -oE "(stopped|resumed) at epoch.*" "$place/train.log" | sed 's/^/    /' || true
}

echo "== a sweep: seed 1 is requeued in the middle, the time limit takes who reaches it"
train -m group=slurm "seed=$seeds" "${settings[@]}" "${launcher[@]}" &
sweep=$!
job="$(job_of "$(saved run_of 1)")"
echo "scontrol requeue $job"
scontrol requeue "$job"
wait "$sweep" || echo "the command ended with exit code $?"

echo "== the same command again: how many jobs are finished already, and how many are run"
train -m group=slurm "seed=$seeds" "${settings[@]}" "${launcher[@]}" | sed -n '1p'

echo "== against runs without SLURM"
for seed in ${seeds//,/ }; do
    train "seed=$seed" group=slurm "${settings[@]}" "hydra.run.dir=$folder/alone_$seed" >/dev/null
    echo "seed $seed: $(verdict "$(run_of "$seed")" "$folder/alone_$seed")"
done

echo "== scancel: saved, ended for good, resumed by the same command"
again=(-m group=slurm seed=9 "${settings[@]}" "${launcher[@]}")
train "${again[@]}" &
sweep=$!
place="$(saved run_of 9)"
scancel "$(job_of "$place")"
since=$SECONDS
wait "$sweep" || echo "the command ended with exit code $? after $((SECONDS - since)) s"
echo "after scancel: $(entry "$place" status), $(entry "$place" error)"
train "${again[@]}" >/dev/null
train seed=9 group=slurm "${settings[@]}" "hydra.run.dir=$folder/alone_9" >/dev/null
echo "after the same command: $(verdict "$place" "$folder/alone_9")"

echo "== the script for two machines, as two tasks on this one; requeued in the middle"
cat >two.sh <<BATCH
#!/bin/bash
#SBATCH --nodes=1 --ntasks=2 --cpus-per-task=1 --overcommit --requeue --open-mode=append
first=\$(scontrol show hostnames "\$SLURM_JOB_NODELIST" | head -n 1)
srun --overcommit "$python" -m torch.distributed.run --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d \\
    --rdzv-endpoint="\$first:29400" --rdzv-id="\$SLURM_JOB_ID" -m ast_experiments.cli.train \\
    hydra.run.dir=$folder/two ${settings[*]}
BATCH
job="$(sbatch --parsable two.sh)"
saved echo "$folder/two" >/dev/null
scontrol requeue "$job"
until [[ -z "$(squeue -h -j "$job" 2>/dev/null)" ]]; do sleep 2; done
train hardware.processes=2 "${settings[@]}" "hydra.run.dir=$folder/alone_two" >/dev/null
echo "two tasks: $(verdict "$folder/two" "$folder/alone_two")"
