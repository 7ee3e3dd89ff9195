"""The file that tells TensorFlow Serving which models there are."""

from __future__ import annotations

import os

import tensorflow as tf

NAME = "models.config"
_MOUNTED = "/models"  # where deploy/serving mounts the folder of all exports


def write(base: str) -> str:
  """Writes `<base>/models.config`, which names every predictor that was exported there.

  Returns:
    Its path.
  """
  lines = ["model_config_list {"]
  for name in sorted(entry.rstrip("/") for entry in tf.io.gfile.listdir(base)):
    if _has_version(f"{base}/{name}"):
      lines += [
        "  config {",
        f'    name: "{name}"',
        f'    base_path: "{_MOUNTED}/{name}"',
        '    model_platform: "tensorflow"',
        "  }",
      ]
  path, aside = f"{base}/{NAME}", f"{base}/.{NAME}.{os.getpid()}"
  with tf.io.gfile.GFile(aside, "w") as file:
    file.write("\n".join([*lines, "}", ""]))
  tf.io.gfile.rename(aside, path, overwrite=True)
  return path


def _has_version(folder: str) -> bool:
  return tf.io.gfile.isdir(folder) and any(
    entry.rstrip("/").isdecimal() for entry in tf.io.gfile.listdir(folder)
  )
