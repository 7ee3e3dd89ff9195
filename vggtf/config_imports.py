"""Which modules a configuration may import, decided before any of them is."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence

from vggtf import errors
from vggtf.config_files import Place

GROUP = "vggtf.plugins"  # the entry points by which other packages announce their modules


def announced() -> dict[str, importlib.metadata.EntryPoint]:
  """Returns the plugins that installed packages announce, by name.

  Raises:
    UsageError: two packages announce the same name.
  """
  found = {}
  for point in importlib.metadata.entry_points(group=GROUP):
    if point.name in found and found[point.name].value != point.value:
      raise errors.UsageError(
        f"the plugin {point.name!r} is announced twice, by {_owner(found[point.name])} and "
        f"{_owner(point)}; uninstall one"
      )
    found[point.name] = point
  return found


def load(imports: Sequence[tuple[str, Place]], allowed: Callable[[str], bool]) -> None:
  """Imports the modules that files name, once all of them are known to be allowed.

  Raises:
    UsageError: one is not allowed, and then none is imported; or one does not load.
  """
  refused = {module: place for module, place in imports if not allowed(module)}
  if refused:
    given = "; ".join(f"{place.text} imports {module!r}" for module, place in refused.items())
    flags = " ".join(f"--gin_allow_import={root}" for root in dict.fromkeys(map(_root, refused)))
    raise errors.UsageError(f"{given}: outside of vggtf, and imports run code; allow with {flags}")
  for module, place in dict(imports).items():
    try:
      importlib.import_module(module)
    except Exception as error:  # whatever a stranger's module does when it is run
      raise errors.UsageError(
        f"{place.text}: {module} cannot be imported: {type(error).__name__}: {error}; is it whole "
        "and on PYTHONPATH?"
      ) from error


def allow(modules: Sequence[str]) -> Callable[[str], bool]:
  """Returns what says of a module whether a configuration may use it.

  Args:
    modules: allowed with all that is inside them, beside vggtf and what packages announce.
  """
  plugins = (point.module for point in announced().values())
  roots = ("vggtf", *plugins, *modules)
  return lambda module: any(f"{module}.".startswith(f"{root}.") for root in roots)


def _owner(point: importlib.metadata.EntryPoint) -> str:
  return point.dist.name if point.dist else point.value


def _root(module: str) -> str:
  return module.partition(".")[0]
