"""Curves read back from what TensorFlow wrote."""

import tensorflow as tf

from vggtf.reports import scalars


def write(folder, points, suffix=""):
  """Writes a sitting's file of events."""
  with tf.summary.create_file_writer(str(folder), filename_suffix=suffix).as_default():
    for step, value in points:
      tf.summary.scalar("loss", value, step)
    tf.summary.text("config", "a = 1", 0)
    tf.summary.image("input", tf.zeros([1, 4, 4, 3]), 0)


def test_scalars_alone_are_read(tmp_path):
  write(tmp_path, [(1, 0.5), (2, 0.25)])
  assert scalars.read(tmp_path) == {"loss": [(1, 0.5), (2, 0.25)]}
  assert scalars.read(tmp_path / "nowhere") == {}


def test_a_later_sitting_counts_from_where_it_began(tmp_path):
  write(tmp_path, [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)], ".a")
  write(tmp_path, [(3, 30.0)], ".b")
  assert scalars.read(tmp_path) == {"loss": [(1, 1.0), (2, 2.0), (3, 30.0)]}


def test_what_a_crash_cut_short_is_passed_over(tmp_path):
  write(tmp_path, [(1, 1.0), (2, 2.0)])
  (file,) = tmp_path.iterdir()
  whole = file.read_bytes()
  file.write_bytes(whole[: whole.rindex(b"loss") + 2])
  assert scalars.read(tmp_path) == {"loss": [(1, 1.0)]}
