import functools

import pytest

from tests import samples
from tests.jobs import runs
from vggtf import errors
from vggtf.jobs import describe
from vggtf.models import vgg

NET = functools.partial(vgg.VGG, config="A", input_size=32, width=1 / 16)


def test_a_net_is_described_without_data(capsys):
  describe.run(NET, classes=10)
  printed = capsys.readouterr().out
  assert "VGG, 10 classes, images of 32x32" in printed
  # 4 of 64 channels, 256 of 4096: 3x3x3x4 + 4, and 256 x 10 + 10.
  cells = [line.replace("│", " ").split() for line in printed.splitlines()]
  assert ["conv1_1", "3x3", "32", "x", "32", "x", "4", "3", "112", "0.11", "0.02"] in cells
  assert ["fc8", "1x1", "10", "150", "2,570", "0.00", "0.00"] in cells


def test_a_run_tells_its_classes(tmp_path, capsys):
  data = samples.digits_like(tmp_path / "data")  # four classes
  runs.run(tmp_path / "run", data, steps=0)
  describe.run(runs.MODEL, workdir=str(tmp_path / "run"))
  assert "VGG, 4 classes" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [0, -2])
def test_a_net_of_no_classes_is_refused(classes):
  with pytest.raises(errors.UsageError, match=rf"classes = {classes}: expected at least 1"):
    describe.run(NET, classes=classes)
