import pytest

from vggtf import errors
from vggtf.nn import choices


def test_known_name():
  assert choices.choose("norm", None, {None: 1, "batch": 2}) == 1


def test_unknown_name_is_refused_with_the_known_ones():
  with pytest.raises(errors.UsageError, match=r"norm='bath' is unknown: .* None, 'batch'"):
    choices.choose("norm", "bath", {None: 1, "batch": 2})
