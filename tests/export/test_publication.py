"""What servers find: whole exports, or none."""

import itertools
import multiprocessing
import os
import pathlib
import signal

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.export import nets
from vggtf import errors
from vggtf.export import integrity, publication, saved_model, server_files
from vggtf.predictors import centre


def export(base, version=3, **options):
  net = nets.Tiny()
  return saved_model.export(base, net, centre.Centre(net, 12), nets.LABELS, version, **options)


def versions(folder):
  """Returns what TF Serving would take for versions."""
  return sorted(path.name for path in pathlib.Path(folder).glob("*/*") if path.name.isdigit())


def write(folder, **files):
  folder.mkdir(parents=True, exist_ok=True)
  for name, text in files.items():
    (folder / name).write_text(text)


def test_half_an_export_is_never_seen(tmp_path, monkeypatch):
  """S1, as far as a process can clean up behind itself."""

  def killed(written, _):
    assert (pathlib.Path(written) / "saved_model.pb").exists()
    assert versions(tmp_path) == []
    raise KeyboardInterrupt

  monkeypatch.setattr(os, "rename", killed)
  with pytest.raises(KeyboardInterrupt):
    export(tmp_path)
  assert list((tmp_path / "centre").iterdir()) == []


def test_remains_of_a_killed_export_do_not_matter(tmp_path):
  folder = tmp_path / "dense" / "70"
  write(folder.with_name(".writing-70"), half="a")
  write(folder.with_name(".replaced-70"), half="a")
  assert versions(tmp_path) == []
  with publication.beside(str(folder)) as aside:
    write(aside, whole="a")
    publication.publish(aside, str(folder), overwrite=False)
  assert [path.name for path in folder.parent.iterdir()] == ["70"]
  assert [path.name for path in folder.iterdir()] == ["whole"]


def publish_again_and_again(base: pathlib.Path, first: int) -> None:
  for version in itertools.count(first):
    folder = base / "dense" / str(version)
    with publication.beside(str(folder)) as aside:
      write(aside / "variables", **{f"part{part}": "weights" * 1000 for part in range(20)})
      write(aside / "assets.extra", text="more")
      integrity.seal(aside, {})
      publication.publish(aside, str(folder), overwrite=False)


def test_whatever_is_seen_is_whole_though_the_exporter_is_killed(tmp_path):
  """S1 and P9: a reader looks all the time, and the writer is killed at any moment."""
  context = multiprocessing.get_context("fork")  # it calls nothing of TensorFlow
  checked = set()
  for number in range(20):
    writer = context.Process(
      target=publish_again_and_again, args=(tmp_path, 1 + max(map(int, checked), default=0))
    )
    writer.start()
    enough = len(checked) + number % 4
    while len(checked) <= enough:
      assert writer.is_alive()
      for version in set(versions(tmp_path)) - checked:
        integrity.check(tmp_path / "dense" / version)
        checked.add(version)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    for version in set(versions(tmp_path)) - checked:
      integrity.check(tmp_path / "dense" / version)
      checked.add(version)
  assert len(checked) >= 20 + 30


def test_what_is_served_is_only_replaced_on_request(tmp_path):
  """S2."""
  folder = tmp_path / "dense" / "70"
  write(folder, old="a")
  with pytest.raises(errors.UsageError, match=f"{folder} exists: .* --overwrite replaces it"):
    publication.check_free(str(folder), overwrite=False)
  with publication.beside(str(folder)) as aside:
    write(aside, new="b")
    publication.publish(aside, str(folder), overwrite=True)
  assert [path.name for path in folder.iterdir()] == ["new"]
  assert [path.name for path in folder.parent.iterdir()] == ["70"]


def test_a_disk_that_is_full_or_closed_is_said_so(tmp_path):
  (tmp_path / "dense").write_text("a file")
  for failure in (
    OSError(28, "No space left on device"),
    tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
  ):
    with (
      pytest.raises(errors.EnvironmentFault, match=r"3 cannot be written .*No space.*--target"),
      publication.beside(str(tmp_path / "centre" / "3")),
    ):
      raise failure
  with (
    pytest.raises(errors.EnvironmentFault, match=r"Not a directory|exists"),
    publication.beside(str(tmp_path / "dense" / "3")),
  ):
    pass
  with pytest.raises(errors.EnvironmentFault, match="no file system for s3://b/dense/3"):
    publication.check_free("s3://b/dense/3", overwrite=False)


def test_an_export_refuses_before_it_costs_anything(tmp_path):
  write(tmp_path / "centre" / "3", old="a")
  with pytest.raises(errors.UsageError, match="exported already"):
    export(tmp_path)


def test_a_second_exporter_of_the_same_version_loses(tmp_path):
  folder = tmp_path / "dense" / "70"
  with publication.beside(str(folder)) as aside:
    write(aside, ours="a")
    write(folder, theirs="b")
    with pytest.raises(errors.UsageError, match="exported already"):
      publication.publish(aside, str(folder), overwrite=False)
  assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_in_a_bucket_the_model_comes_last(tmp_path, monkeypatch):
  """S2: no rename of folders there; a server waits for saved_model.pb."""
  folder = "ram://bucket/export/dense/70"
  write(tmp_path / "written" / "variables", a="1", z="2")
  write(tmp_path / "written", **{"saved_model.pb": "new", "zz": "3"})
  copied, copy, remove = [], tf.io.gfile.copy, tf.io.gfile.remove
  monkeypatch.setattr(tf.io.gfile, "copy", lambda source, to: (copied.append(to), copy(source, to)))
  publication.publish(tmp_path / "written", folder, overwrite=False)
  assert copied[-1] == f"{folder}/saved_model.pb"
  assert set(copied) == {
    f"{folder}/{name}" for name in ("variables/a", "variables/z", "zz", "saved_model.pb")
  }
  with pytest.raises(errors.UsageError, match="exported already"):
    publication.check_free(folder, overwrite=False)

  def removed(path):
    copied.append(f"removed {path}")
    remove(path)

  monkeypatch.setattr(tf.io.gfile, "remove", removed)
  copied.clear()
  (tmp_path / "written" / "zz").unlink()
  publication.publish(tmp_path / "written", folder, overwrite=True)
  assert copied[0] == f"removed {folder}/saved_model.pb"
  assert copied[-1] == f"{folder}/saved_model.pb"
  assert not tf.io.gfile.exists(f"{folder}/zz")


def test_a_slash_at_the_end_of_a_bucket_s_folder_makes_no_other_folder():
  assert export("ram://slash/export/") == "ram://slash/export/centre/3"
  assert tf.io.gfile.exists("ram://slash/export/centre/3/saved_model.pb")
  with tf.io.gfile.GFile("ram://slash/export/models.config") as file:
    assert 'name: "centre"' in file.read()


def test_a_lack_of_memory_is_none_of_the_disk(tmp_path):
  failure = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
  with (
    pytest.raises(tf.errors.ResourceExhaustedError),
    publication.beside(str(tmp_path / "centre" / "3")),
  ):
    raise failure
  assert list((tmp_path / "centre").iterdir()) == []


def test_models_config_names_what_was_exported(tmp_path):
  for name in ("dense/70", "dense/80", "centre/70", "empty", "half/.writing-3"):
    write(tmp_path / name)
  (tmp_path / "notes.txt").write_text("")
  path = server_files.write(str(tmp_path))
  assert path == str(tmp_path / "models.config")
  text = pathlib.Path(path).read_text()
  found = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
  assert [
    (one.name, one.base_path, one.model_platform) for one in found.model_config_list.config
  ] == [("centre", "/models/centre", "tensorflow"), ("dense", "/models/dense", "tensorflow")]
