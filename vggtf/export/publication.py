"""How a finished export appears where servers look: whole, or not at all.

TensorFlow Serving takes a folder for a version when its name is a number, and loads it as it finds
it (tensorflow/serving#1086). So a local export is written beside, and renamed. A bucket has no
rename of folders; there saved_model.pb, without which a server waits, is copied last.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from vggtf import errors

_MODEL = "saved_model.pb"
_MEMORY = re.compile("OOM when|[Oo]ut of memory")  # TensorFlow has one error for both


def check_free(folder: str, overwrite: bool) -> None:
  """Looks before an export costs anything.

  Raises:
    UsageError: this version exists already and may not be replaced.
    EnvironmentFault: TensorFlow cannot write there.
  """
  try:
    exists = tf.io.gfile.exists(folder)
  except tf.errors.UnimplementedError:
    raise errors.EnvironmentFault(
      f"TensorFlow has no file system for {folder}; mount the bucket, or export locally and copy "
      f"the files, {_MODEL} last"
    ) from None
  if exists and not overwrite:
    raise errors.UsageError(
      f"{folder} exists: this checkpoint was exported already; --overwrite replaces it, another "
      "--target keeps both"
    )


@contextlib.contextmanager
def beside(folder: str) -> Iterator[Path]:
  """Yields where to write an export before it is published, and removes what is left there.

  Raises:
    EnvironmentFault: there is no room or no permission.
  """
  if _is_remote(folder):
    scratch = Path(tempfile.mkdtemp())
    aside = scratch / "export"
  else:
    # Servers take a folder for a version when its name is a number.
    scratch = aside = Path(folder).with_name(f".writing-{Path(folder).name}")
    shutil.rmtree(aside, ignore_errors=True)
  try:
    aside.mkdir(parents=True)
    yield aside
  except (tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError, OSError) as failure:
    reason = getattr(failure, "message", None) or str(failure)
    if _MEMORY.search(reason):  # no disk's; vggtf.main tells what it is
      raise
    raise errors.EnvironmentFault(
      f"{folder} cannot be written ({reason}); make room or give permission there, or take another "
      "--target"
    ) from failure
  finally:
    shutil.rmtree(scratch, ignore_errors=True)


def publish(written: Path, folder: str, overwrite: bool) -> None:
  """Moves a finished export to its place.

  Args:
    written: where `beside` said.
    folder: <base>/<predictor>/<version>.
    overwrite: whether one that is there is replaced. A server that has loaded it keeps it until it
      is started again: versions are what servers follow.

  Raises:
    UsageError: another process has published this version since.
  """
  if _is_remote(folder):
    _upload(written, folder)
    return
  final = Path(folder)
  replaced = final.with_name(f".replaced-{final.name}")
  shutil.rmtree(replaced, ignore_errors=True)
  if overwrite and final.exists():
    os.rename(final, replaced)
  try:
    os.rename(written, final)
  except OSError:
    check_free(folder, overwrite=False)
    raise
  shutil.rmtree(replaced, ignore_errors=True)


def _is_remote(folder: str) -> bool:
  return "://" in folder


def _upload(written: Path, folder: str) -> None:
  if tf.io.gfile.exists(f"{folder}/{_MODEL}"):
    tf.io.gfile.remove(f"{folder}/{_MODEL}")  # first, so that no server takes half of each
  if tf.io.gfile.exists(folder):
    tf.io.gfile.rmtree(folder)
  names = [path.relative_to(written) for path in sorted(written.rglob("*")) if path.is_file()]
  names.sort(key=lambda name: str(name) == _MODEL)
  for name in names:
    tf.io.gfile.makedirs(os.path.dirname(f"{folder}/{name}"))
    tf.io.gfile.copy(str(written / name), f"{folder}/{name}")
