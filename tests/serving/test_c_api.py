"""The export in a process without Python: TensorFlow's C API has TensorFlow Serving's loader."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export import nets
from vggtf.export import saved_model

INVALID_ARGUMENT = 3
SOURCE = pathlib.Path(__file__).with_name("classify.c")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
  """Compiles classify.c against the library inside TensorFlow's wheel."""
  compiler = shutil.which("gcc")
  if compiler is None:
    pytest.skip("no gcc to compile classify.c with")
  library = tf.sysconfig.get_lib()
  path = tmp_path_factory.mktemp("program") / "classify"
  subprocess.run(
    [
      *(compiler, "-std=c11", "-Wall", "-Werror", "-D_GNU_SOURCE", SOURCE, "-o", path),
      *("-I", tf.sysconfig.get_include(), "-L", library, f"-Wl,-rpath,{library}"),
      *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
    ],
    check=True,
  )
  return path


def tensor_names(folder):
  """Returns the names that the signature gives to its tensors, as a client in C++ reads them."""
  saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
  signature = saved.meta_graphs[0].signature_def["serving_default"]
  outputs = [signature.outputs[name].name for name in ("probabilities", "classes", "labels")]
  return [signature.inputs["images"].name, *outputs]


@pytest.mark.parametrize("form", ["variables", pytest.param("frozen", marks=pytest.mark.slow)])
def test_a_program_in_c_gets_the_same_answers(program, form, tmp_path):
  predictor, folder = nets.exported_dense()
  if form != "variables":
    path = saved_model.export(
      tmp_path, predictor.model, predictor, nets.LABELS, version=1, form=form
    )
    folder = pathlib.Path(path)
  files = nets.encoded()
  requests = [files[0], b"", files[2], b"no picture", files[1][:-200], files[4]]
  paths = [tmp_path / str(number) for number in range(len(requests))]
  for path, content in zip(paths, requests, strict=True):
    path.write_bytes(content)
  done = subprocess.run(
    [program, folder, *tensor_names(folder), *paths], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  good = (0, 2, 5)
  expected = nets.measured(predictor, [requests[index] for index in good])
  # Five lines a picture, one an error, in order: what is refused leaves the session alive.
  blocks = [lines[0:5], lines[5:6], lines[6:11], lines[11:12], lines[12:13], lines[13:18]]
  assert len(lines) == 18
  for block, posteriors in zip((blocks[index] for index in good), expected, strict=True):
    classes, probabilities, labels = zip(*(line.split(" ", 2) for line in block), strict=True)
    order = np.argsort(-posteriors, kind="stable")[:5]
    np.testing.assert_array_equal(np.array(classes, int), order)
    np.testing.assert_allclose(np.array(probabilities, float), posteriors[order], atol=1e-6)
    assert labels == tuple(nets.LABELS[index] for index in order)
  errors = [blocks[index][0] for index in (1, 3, 4)]
  assert all(line.startswith(f"error {INVALID_ARGUMENT} ") for line in errors)
  assert "image 0 of the request is neither JPEG nor PNG; it has 0 bytes" in errors[0]
  assert "neither JPEG nor PNG; it has 10 bytes" in errors[1]
