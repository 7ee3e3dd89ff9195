"""What one conversion is: where from, what to make of it, where to."""

import dataclasses

from data_tools.options import Options
from data_tools.source import Source


@dataclasses.dataclass(frozen=True)
class Job:
  """What all shards of a conversion have in common; it travels to the workers.

  Attributes:
    source: lists and reads the images.
    classes: (class key, readable name) in label order.
    options: of the conversion.
    folder: where the data set grows; every worker must be able to write there.
  """

  source: Source
  classes: tuple[tuple[str, str], ...]
  options: Options
  folder: str
