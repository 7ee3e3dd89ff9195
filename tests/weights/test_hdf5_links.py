"""HDF5 can point into other files, which what strangers sent must not (S7)."""

import h5py
import numpy as np
import pytest

from tests.weights import nets
from vggtf import errors, weights


@pytest.mark.parametrize("kind", ["external link", "soft link", "external data", "virtual"])
def test_arrays_of_other_files_are_refused(tmp_path, kind):
  weights.write(tmp_path / "net.h5", nets.small("D"))
  secret = np.zeros(4, np.float32)
  with h5py.File(tmp_path / "secret.h5", "w") as file:
    file["x"] = secret
  (tmp_path / "secret.bin").write_bytes(secret.tobytes())
  with h5py.File(tmp_path / "net.h5", "a") as file:
    key = "block1_conv1/block1_conv1/bias:0"
    kept = file[key][()]
    del file[key]
    if kind == "external link":
      file[key] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
    elif kind == "soft link":
      file["other"] = kept
      file[key] = h5py.SoftLink("/other")
    elif kind == "external data":
      file.create_dataset(key, (4,), "f4", external=[(str(tmp_path / "secret.bin"), 0, 16)])
    else:
      layout = h5py.VirtualLayout((4,), "f4")
      layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (4,))
      file.create_virtual_dataset(key, layout)
  (tmp_path / "net.h5.json").unlink()
  if kind == "soft link":  # stays inside of the file
    np.testing.assert_array_equal(weights.read(tmp_path / "net.h5").tensors["conv1_1/biases"], kept)
  else:
    with pytest.raises(errors.IntegrityError, match="in another file"):
      weights.read(tmp_path / "net.h5")


@pytest.mark.parametrize(
  ("form", "path"),
  [
    ("net.weights.h5", "layers"),
    ("net.weights.h5", "layers/conv2d"),
    ("net.weights.h5", "layers/conv2d/vars"),
    ("net.h5", "block1_conv1"),
    ("net.h5", "block1_conv1/block1_conv1"),
  ],
)
@pytest.mark.parametrize("kind", ["external", "soft to external", "external to nowhere", "soft"])
def test_groups_of_other_files_are_refused(tmp_path, form, path, kind):
  content = nets.small("D", labels=None, input_size=None)
  weights.write(tmp_path / form, content)
  (tmp_path / f"{form}.json").unlink()
  secret = tmp_path / "secret.h5"
  secret.write_bytes((tmp_path / form).read_bytes())
  with h5py.File(tmp_path / form, "a") as file:
    if kind == "soft":
      file.move(path, "other")
      file[path] = h5py.SoftLink("/other")
    else:
      del file[path]
      linked = "other" if kind == "soft to external" else path
      file[linked] = h5py.ExternalLink(str(secret), f"/{path}")
      if linked != path:
        file[path] = h5py.SoftLink("/other")
  if kind == "external to nowhere":  # told without a look at it
    secret.unlink()
  if kind == "soft":
    nets.assert_equal(weights.read(tmp_path / form), content)
  else:
    with pytest.raises(errors.IntegrityError, match="in another file"):
      weights.read(tmp_path / form)


def test_a_whole_model_of_another_file_is_refused(tmp_path):
  weights.write(tmp_path / "secret.h5", nets.small("D"))
  with h5py.File(tmp_path / "net.h5", "w") as file:
    file["model_weights"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")
  with pytest.raises(errors.IntegrityError, match="model_weights lies in another file"):
    weights.read(tmp_path / "net.h5")


def test_groups_inside_of_themselves_have_an_end(tmp_path):
  content = nets.small("D", labels=None, input_size=None)
  weights.write(tmp_path / "net.h5", content)
  (tmp_path / "net.h5.json").unlink()
  with h5py.File(tmp_path / "net.h5", "a") as file:
    file["block1_conv1/again"] = file["/"]
    file["fc1/again"] = file["block1_conv1"]
  nets.assert_equal(weights.read(tmp_path / "net.h5"), content)


@pytest.mark.parametrize("linked", [False, True], ids=["by its name", "by another link"])
def test_an_array_that_is_named_again_is_refused(tmp_path, linked):
  """A file of 4 MB would take gigabytes."""
  weights.write(tmp_path / "net.h5", nets.small("D"))
  with h5py.File(tmp_path / "net.h5", "a") as file:
    names = list(file.attrs["layer_names"])
    if linked:
      file["again"] = file["block1_conv1"]
    file.attrs["layer_names"] = [*names, "again" if linked else names[0]]
  with pytest.raises(errors.IntegrityError, match="is named twice"):
    weights.read(tmp_path / "net.h5")
