#!/bin/bash
# Trains on a Cloud TPU VM of one host, spot or not, and begins again where it was preempted:
#   NAME=vgg ZONE=us-central2-b TYPE=v4-8 DISK=vgg-data RUN=/mnt/disks/runs/vgg16 deploy/cluster/tpu_vm.sh \
#       --gin_file=gin/vgg16.gin --gin_file=gin/with/tpu.gin --gin_file=gin/with/bfloat16.gin --data_dir=DATA
# DISK, a persistent disk with data and run, is attached at /mnt/disks.
set -u
: "${NAME:?}" "${ZONE:?}" "${TYPE:?}" "${RUN:?}" "${DISK:?}"
tpu() { gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" "${@:2}"; }

# TensorFlow for TPUs ends at 2.20, one version before the one that vggtf asks for: hence --no-deps.
setup='sudo mkdir -p /mnt/disks && sudo mount -o discard,defaults /dev/sdb /mnt/disks
pip install --quiet uv && ~/.local/bin/uv venv --quiet --python=3.11 ~/venv && . ~/venv/bin/activate
~/.local/bin/uv pip install --quiet tensorflow-tpu==2.20.0 libtpu tensorboard~=2.20.0 gin-config==0.5.0 \
  absl-py google-crc32c simplejpeg pillow beartype rich
~/.local/bin/uv pip install --quiet --no-deps vggtf'

while true; do
  if ! tpu describe --format='value(state)' 2>/dev/null | grep -q READY; then
    tpu delete --quiet 2>/dev/null
    tpu create --accelerator-type="$TYPE" --version=tpu-ubuntu2204-base --spot \
      --data-disk="source=$DISK,mode=read-write" || { sleep 60; continue; }
    tpu ssh --command="$setup" || exit 5
  fi
  tpu ssh --command="~/venv/bin/python -m vggtf.main $(printf '%q ' "$@") --workdir=$RUN"
  code=$?
  case $code in
    7 | 42 | 137 | 143 | 255) echo "exit code $code: going on" ;; # 255: the host is gone
    *) exit $code ;;
  esac
done
