"""What is recorded of a machine, and which differences are told."""

import json
import os
import platform

import numpy as np
import pytest
import tensorflow as tf

from vggtf.training import strategy, surroundings


@pytest.fixture
def here(monkeypatch):
  monkeypatch.setenv("OMP_NUM_THREADS", "3")
  monkeypatch.setenv("TF_CONFIG", "{}")
  monkeypatch.setenv("HOME_OF_TF_LOVERS", "1")
  return surroundings.describe(strategy.one_device())


def test_all_that_bits_depend_on_is_there(here):
  assert json.loads(json.dumps(here)) == here
  assert here["libraries"]["tensorflow"] == tf.__version__
  assert here["libraries"]["numpy"] == np.__version__
  assert here["python"] == platform.python_version()
  assert here["cpus"] == len(os.sched_getaffinity(0))
  assert (here["workers"], here["replicas"]) == (0, 1)
  assert len(here["code_sha256"]) == 64
  assert here["cpu"]
  assert here["variables"]["OMP_NUM_THREADS"] == "3"
  assert not here["variables"].keys() & {"TF_CONFIG", "HOME_OF_TF_LOVERS", "TF_CPP_MIN_LOG_LEVEL"}


def test_threads_are_those_that_compute(monkeypatch):
  cpus = len(os.sched_getaffinity(0))
  monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
  monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
  assert surroundings.count_threads() == {"intra": cpus, "inter": cpus}
  for name, value in surroundings.fix_threads({"intra": 7, "inter": 5}).items():
    monkeypatch.setenv(name, value)
  assert surroundings.count_threads() == {"intra": 7, "inter": 5}


def test_what_differs_is_told_unless_it_changes_no_bit(here):
  """T11 too: neither the clock nor the host's name counts."""
  other = here | {"host": "elsewhere", "start": "1970-01-01", "command": [], "folder": "/"}
  assert surroundings.compare(here, other) == []
  other |= {"cpu": "a Z80", "libraries": here["libraries"] | {"numpy": "1.0"}, "commit": "c0ffee"}
  other["libraries"].pop("tensorboard")
  lines = surroundings.compare(here, other)
  assert f"cpu was {here['cpu']}, is a Z80" in lines
  assert f"libraries: numpy was {np.__version__}, is 1.0" in lines
  assert f"libraries: tensorboard was {here['libraries']['tensorboard']}, is absent" in lines
  assert len(lines) == 4
