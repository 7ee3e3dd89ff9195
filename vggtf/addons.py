"""TensorFlow Addons beside a TensorFlow that it was not made for: the one file that imports it.

It ended in 2024 with 0.23, on Keras 2. With TensorFlow 2.21 it works where tf.keras is Keras 2, the
package tf_keras, which TF_USE_LEGACY_KERAS=1 decides when TensorFlow is imported (vggtf/main.py
sets it), and where a module of Keras 2 is found under its old name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from vggtf import errors

# What it imports of Keras, by the names that Keras 2 had.
_MOVED = ("engine", "engine.keras_tensor")


def load() -> types.ModuleType:
  """Returns the module tensorflow_addons.

  Raises:
    EnvironmentFault: it, or the Keras that it needs, is not installed or not in use.
  """
  if "tensorflow_addons" in sys.modules:
    return sys.modules["tensorflow_addons"]
  for package in ("tensorflow_addons", "tf_keras"):
    if importlib.util.find_spec(package) is None:
      raise errors.EnvironmentFault(
        f"the configuration uses TensorFlow Addons, but {package} is not installed: pip install "
        "'vggtf[addons]', or take vggtf's own optimizers (sgd, lars, adamw) and losses"
      )
  if not tf.keras.Model.__module__.startswith("tf_keras."):
    raise errors.EnvironmentFault(
      "TensorFlow Addons needs Keras 2, but TensorFlow was imported without TF_USE_LEGACY_KERAS=1: "
      "set it before Python starts"
    )
  importlib.import_module("keras.src")  # Keras 3: no engine in it
  moved = {f"keras.src.{one}": importlib.import_module(f"tf_keras.src.{one}") for one in _MOVED}
  sys.modules.update(moved)
  try:
    with warnings.catch_warnings():  # that it has ended, and of this TensorFlow
      warnings.simplefilter("ignore")
      return importlib.import_module("tensorflow_addons")
  finally:
    for name in moved:
      del sys.modules[name]


def construct(user: str, name: str, kind: type, options: Mapping[str, Any]) -> Any:
  """Returns an object of one of its classes.

  Args:
    user: the class of vggtf that asks for it.
    name: the class's, as it was configured.
    kind: the class.
    options: its arguments.

  Raises:
    UsageError: it does not take them.
  """
  try:
    return kind(**options)
  except (TypeError, ValueError) as error:
    raise errors.UsageError(
      f"addons.{user}: {name} does not take these options: {error}"
    ) from error
