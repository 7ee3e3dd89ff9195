"""A decoder without its process, for tests of what is done with its results."""

from data_tools import renditions


class Here:
  """Renders in this process; tests/data_tools/test_decoder.py is about the other one."""

  def __init__(self, options):
    names = ("scales", "quality", "max_pixels", "upscale", "damaged_jpeg")
    self._wanted = renditions.Wanted(**{name: getattr(options, name) for name in names})

  def render(self, data, measure):
    return renditions.render(data, self._wanted, measure)
