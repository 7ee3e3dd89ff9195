"""--job=weights from the command line, and what its targets are good for."""

import json

import numpy as np
import pytest

from tests import commands, samples
from tests.weights import nets
from vggtf import errors, weights, workdir
from vggtf.jobs import weights as job


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data", (64, 73), 8, 4, 7)


def test_a_converted_net_is_evaluated_and_exported(tmp_path, data_dir):
  content = nets.small("A", "batch", labels=None)
  weights.write(tmp_path / "net.safetensors", content)
  stdout, _ = commands.call(
    "--job=weights", f"--source={tmp_path / 'net.safetensors'}", "--target=run",
    f"--data_dir={data_dir}", cwd=tmp_path,
  )  # fmt: skip
  assert "54 tensors, mean RGB 123.68, 116.779, 103.939" in stdout
  assert "7 class names" in stdout
  commands.call("--job=evaluate", "--workdir=run", cwd=tmp_path)
  (line, *_) = workdir.Workdir(str(tmp_path / "run")).read_results()
  assert (line["step"], line["count"]) == (0, 4)
  commands.call("--job=export", "--workdir=run", cwd=tmp_path)
  assert (tmp_path / "run/export/dense/0/saved_model.pb").exists()

  job.run(str(tmp_path / "run"), str(tmp_path / "back.npz"))
  found = weights.read(tmp_path / "back.npz")
  assert found.facts.labels == tuple(f"class {number}" for number in range(7))
  for name, tensor in content.tensors.items():
    np.testing.assert_array_equal(found.tensors[name], tensor)


def test_the_note_tells_how_to_use_the_file(tmp_path):
  weights.write(tmp_path / "net.npz", nets.small("A-LRN"))
  job.run(str(tmp_path / "net.npz"), str(tmp_path / "net.caffemodel"))
  note = json.loads((tmp_path / "net.caffemodel.json").read_text())
  labels = (tmp_path / note["labels"]).read_text(encoding="utf-8").splitlines()
  assert tuple(labels) == nets.LABELS
  assert (note["net"], note["colour_order"], note["input_size"]) == ("A-LRN", "BGR", 64)
  assert tuple(note["mean_rgb"]) == nets.MEAN
  assert note["lrn_form"] == "alexnet"


def test_classes_without_names_are_numbered(tmp_path):
  weights.write(tmp_path / "net.npz", nets.small("A", labels=None))
  job.run(str(tmp_path / "net.npz"), str(tmp_path / "run"))
  facts = workdir.Workdir(str(tmp_path / "run")).read_facts()
  assert facts.labels == tuple(f"class {number}" for number in range(7))


def test_other_classes_are_refused_with_the_cure(tmp_path):
  weights.write(tmp_path / "net.npz", nets.small("A"))
  data = samples.digits_like(tmp_path / "data", (32,), 4, 4, 3)
  with pytest.raises(errors.UsageError, match=r"fc8 has 7 classes, .* has 3: .*train\.run"):
    job.run(str(tmp_path / "net.npz"), str(tmp_path / "run"), data)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--job=weights", "--target=x"], "needs --source"),
    (["--job=weights", "--source=x"], "needs --target"),
    (["--job=weights", "--source=nowhere", "--target=x"], "no weights at nowhere"),
    (["--job=weights", "--source=nowhere", "--target=x.onyx"], "no format has the suffix .onyx"),
  ],
)
def test_a_mistake_is_one_line_with_the_cure_and_exits_2(arguments, message, tmp_path):
  _, stderr = commands.call(*arguments, code=2, cwd=tmp_path)
  assert message in stderr
  assert len(stderr.splitlines()) == 1
  assert not list(tmp_path.iterdir())


def test_a_binding_chooses_the_layout(tmp_path):
  weights.write(tmp_path / "net.npz", nets.small("A"))
  commands.call(
    "--job=weights", "--source=net.npz", "--target=net.safetensors",
    "--gin_param=weights.run.layout = 'timm'", cwd=tmp_path,
  )  # fmt: skip
  nets.assert_equal(weights.read(tmp_path / "net.safetensors"), nets.small("A"))
