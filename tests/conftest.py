"""What all tests share: a quiet TensorFlow, and the data sets of a developer's machine."""

import importlib.util
import os
import pathlib
import signal

import pytest

# Read once, when TensorFlow is imported; subprocesses inherit it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if importlib.util.find_spec("tf_keras"):  # as vggtf/main.py does
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in a shell's background
  signal.signal(signal.SIGINT, signal.default_int_handler)  # tests press Ctrl-C


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """Returns the folder of real data sets beside the checkout, or skips."""
  folder = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"
  if not folder.is_dir():
    pytest.skip(f"no real data sets in {folder}")
  return folder
