"""What a run's numbers depend on beside its configuration and data: code, libraries, machine."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from vggtf.training import cluster

_PACKAGE = Path(__file__).parents[1]
# Variables that TensorFlow and the libraries below it read.
_VARIABLES = re.compile(r"(TF|XLA|OMP|KMP|MKL|DNNL|ONEDNN|CUDA|NVIDIA)_(?!.*(CONFIG|LOG_LEVEL)$)")
_THREADS = {"intra": "TF_NUM_INTRAOP_THREADS", "inter": "TF_NUM_INTEROP_THREADS"}
_INSTRUCTIONS = re.compile(r"(sse4|avx|fma|amx|asimd|sve)")
# What says who ran, and changes no bit.
_CIRCUMSTANCES = ("command", "folder", "host", "start")


def describe(strategy: tf.distribute.Strategy) -> dict:
  """Returns JSON's kinds of values, by name; `compare` takes two of them."""
  cpu = _read_cpu()
  several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
  return {
    "command": sys.orig_argv,
    "folder": os.getcwd(),
    "host": socket.gethostname(),
    "start": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "version": _read_version("vggtf"),
    "commit": _read_commit(),
    "code_sha256": digest_code(),
    "libraries": _list_libraries(),
    "python": platform.python_version(),
    "system": platform.platform(),
    "cpu": cpu["model name"],
    "instructions": cpu["flags"],
    "cpus": len(os.sched_getaffinity(0)),
    "threads": count_threads(),
    "variables": {name: value for name, value in os.environ.items() if matters(name)},
    "devices": sorted(_describe_device(one) for one in tf.config.list_physical_devices()),
    "workers": len(cluster.read().tasks) if several else 0,
    "replicas": strategy.num_replicas_in_sync,
  }


def count_threads() -> dict[str, int]:
  """Returns how many compute one operation (intra) and how many operations at once (inter).

  Sums are split among the former, so that their bits depend on the number.
  """
  cpus = len(os.sched_getaffinity(0))
  configured = {
    "intra": tf.config.threading.get_intra_op_parallelism_threads(),
    "inter": tf.config.threading.get_inter_op_parallelism_threads(),
  }
  return {
    kind: count or int(os.environ.get(_THREADS[kind]) or 0) or cpus
    for kind, count in configured.items()
  }


def fix_threads(threads: Mapping[str, int]) -> dict[str, str]:
  """Returns the environment variables that give a process what `count_threads` returned."""
  return {_THREADS[kind]: str(count) for kind, count in threads.items()}


def matters(variable: str) -> bool:
  """Returns whether an environment variable is one that TensorFlow or what is below it reads."""
  return bool(_VARIABLES.match(variable))


def compare(before: Mapping, now: Mapping) -> list[str]:
  """Returns a line for each thing that differs and may change bits: what it was, what it is."""
  lines = []
  for name in now.keys() - set(_CIRCUMSTANCES):
    was, is_ = before.get(name), now[name]
    if isinstance(was, Mapping) and isinstance(is_, Mapping):
      lines += [
        f"{name}: {key} was {was.get(key, 'absent')}, is {is_.get(key, 'absent')}"
        for key in was.keys() | is_.keys()
        if was.get(key) != is_.get(key)
      ]
    elif was != is_:
      lines.append(f"{name} was {was}, is {is_}")
  return sorted(lines)


@functools.cache
def _read_cpu() -> dict[str, str]:
  """Returns the CPU's name, and those of its instruction sets that kernels are chosen by."""
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  said = dict(reversed([map(str.strip, line.split(":", 1)) for line in lines if ":" in line]))
  flags = sorted(filter(_INSTRUCTIONS.match, said.get("flags", said.get("Features", "")).split()))
  return {"model name": said.get("model name", platform.machine()), "flags": " ".join(flags)}


def _read_version(distribution: str) -> str | None:
  try:
    return importlib.metadata.version(distribution)
  except importlib.metadata.PackageNotFoundError:
    return None


@functools.cache
def _read_commit() -> str | None:
  """Returns the commit of a checkout, with "-dirty" where files were changed since."""
  if not (_PACKAGE.parent / ".git").exists():
    return None
  ask = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
  try:
    command = ("git", "--no-optional-locks", "-C", str(_PACKAGE.parent), *ask)
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None


@functools.cache
def digest_code() -> str:
  """Returns the sha256 of all modules of vggtf, which tells a changed checkout from another."""
  digest = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob("*.py")):
    digest.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes() + b"\0")
  return digest.hexdigest()


@functools.cache
def _list_libraries() -> dict[str, str]:
  """Returns the versions of what vggtf requires, extras included where they are installed."""
  try:
    requirements = importlib.metadata.requires("vggtf") or []
  except importlib.metadata.PackageNotFoundError:
    requirements = ["tensorflow", "numpy"]
  names = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}
  versions = {name: _read_version(name) for name in sorted(names)}
  return {name: version for name, version in versions.items() if version}


def _describe_device(device) -> str:
  details = tf.config.experimental.get_device_details(device)
  return f"{device.device_type} {details.get('device_name', '')}".strip()
