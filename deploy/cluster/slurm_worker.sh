#!/bin/bash
# A task of slurm.sbatch: makes TF_CONFIG of what SLURM tells, and trains.
set -eu
port=$((20000 + SLURM_JOB_ID % 10000)) # two jobs may share a host
workers=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd, -)
task="{\"type\": \"worker\", \"index\": $SLURM_NODEID}"
export TF_CONFIG="{\"cluster\": {\"worker\": [$workers]}, \"task\": $task}"
exec python -m vggtf.main "$@" --workdir="$RUN/worker-$SLURM_NODEID"
