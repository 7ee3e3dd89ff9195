import gin
import pytest

from tests.conformance import configurations
from vggtf import config


@pytest.mark.parametrize("overlay", configurations.OVERLAYS)
def test_overlay_changes_a_configuration_and_is_wholly_read(overlay):
  configurations.parse("vgg16")
  before = config.text()
  configurations.parse("vgg16", overlay)
  assert config.text() != before or overlay == "eval/dense"  # the default, spelt out


@pytest.mark.parametrize("name", configurations.NETS)
def test_configuration_survives_being_written_and_read(name):
  configurations.parse(name)
  text = config.text()
  gin.clear_config()
  with gin.unlock_config():
    gin.parse_config(text)
  assert config.text() == text


@pytest.mark.parametrize("path", [p.stem for p in sorted(configurations.GIN.glob("*.gin"))])
def test_header_says_what_on_what_cost_and_command(path):
  text = (configurations.GIN / f"{path}.gin").read_text()
  for heading in ("# What:", "# On:", "# Cost:", "# Run:"):
    assert heading in text
  assert "gin/" + path in text
