"""The classes of ImageNet, and whether all that names classes means the same ones."""

from collections.abc import Mapping

from data_tools.listing import ilsvrc_labels
from data_tools.listing.ilsvrc_devkit import Devkit
from data_tools.listing.ilsvrc_layout import Layout
from vggtf import errors

CLASSES = 1000
_SHOWN = 5

Synsets = tuple[tuple[str, str], ...]


def find_synsets(
  layout: Layout, devkit: Devkit | None, named: Mapping[str, set[str]]
) -> tuple[str, Synsets]:
  """Returns where the classes are taken from, and (WNID, words) of each, sorted.

  They are those of the devkit or of Kaggle's list; else of the first that names any.

  Args:
    layout: where Kaggle's list is.
    devkit: if there is one.
    named: what names classes (its name, for messages), and the WNIDs that it names.
  """
  if devkit:
    return "the devkit", devkit.synsets
  if layout.synsets:
    return layout.synsets, ilsvrc_labels.read_synsets(layout.path(layout.synsets))
  for where, keys in named.items():
    if keys:
      return where, tuple((key, key) for key in sorted(keys))
  raise errors.UsageError(
    f"--input={layout.root}: {' and '.join(named)} hold no classes; expected n01440764/ and so on"
  )


def check(where: str, synsets: Synsets, named: Mapping[str, set[str]], partial: bool):
  """Raises UsageError, naming the classes, if something names others; if fewer, unless `partial`.

  Args:
    where: the classes are taken from.
    synsets: the classes.
    named: as for `find_synsets`.
    partial: it is a part of ImageNet.
  """
  if not partial and len(synsets) != CLASSES:
    raise errors.UsageError(
      f"{where} has {len(synsets)} classes, expected {CLASSES}; mend it, or say --partial"
    )
  known = {key for key, _ in synsets}
  for name, keys in named.items():
    if unknown := sorted(keys - known):
      raise errors.UsageError(
        f"{name}: {len(unknown)} classes that {where} lacks: {', '.join(unknown[:_SHOWN])}; "
        "expected WNIDs of the same classes in both"
      )
    missing = sorted(known - keys)
    if keys and missing and not partial:
      raise errors.UsageError(
        f"{name} lacks {len(missing)} of the {len(known)} classes of {where}: "
        f"{', '.join(missing[:_SHOWN])}; get it again, or say --partial"
      )
