"""--job=plugins: lists what a configuration can choose from, with a line each."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import itertools
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import tensorflow  # noqa: F401  (loads with the job, where vggtf.main hides its notes)

from vggtf import errors
from vggtf.reports import listing

# Packages whose classes a gin file names, then those of which every module is one choice.
_CLASSES = {
  "models": "vggtf.models",
  "losses": "vggtf.losses",
  "optimizers and schedules": "vggtf.optimizers",
  "predictors": "vggtf.predictors",
  "evaluators": "vggtf.evaluators",
}
_MODULES = {"sources (python -m data_tools.convert)": "data_tools.sources", "jobs": "vggtf.jobs"}


class Catalogue(Protocol):
  """What the configuration knows of files and packages; vggtf/config.py."""

  def announced(self) -> Mapping[str, importlib.metadata.EntryPoint]:
    """Returns the plugins that installed packages announce."""

  def files(self) -> Mapping[str, Path]:
    """Returns the gin files that come along, and where they lie."""


def run(configuration: Catalogue) -> None:
  """Prints models, losses, optimizers, and so on, those of installed plugins and gin files too.

  Args:
    configuration: names the files and what packages announce.

  Raises:
    UsageError: a plugin does not load; the others are printed nevertheless.
  """
  groups, failures = {}, {}
  for kind, package in _CLASSES.items():
    modules = _modules(package)
    groups[kind] = [row for module in modules for row in _classes(module, failures)]
  groups["initial weights"] = list(_classes("vggtf.weights.initial", failures))
  for name, point in configuration.announced().items():
    package = point.dist.name if point.dist else point.value
    groups[f"{name}, announced by {package}"] = list(_classes(point.module, failures))
  for kind, package in _MODULES.items():
    groups[kind] = [
      (name.rpartition(".")[2], _first_line(module))
      for name in _modules(package)
      if (module := _load(name, failures))
    ]
  groups["gin files"] = [(name, _header(path)) for name, path in configuration.files().items()]
  print(listing.text(groups))
  if failures:
    told = "; ".join(f"{name} cannot be imported: {why}" for name, why in failures.items())
    raise errors.UsageError(f"{told}; mend or uninstall it")


def _modules(package: str) -> list[str]:
  """Returns the names of a package's modules."""
  folder = importlib.import_module(package)
  return [f"{package}.{module.name}" for module in pkgutil.iter_modules(folder.__path__)]


def _load(name: str, failures: dict[str, str]):
  """Returns a module; None where it does not load, whose reason is then among the failures."""
  try:
    return importlib.import_module(name)
  except Exception as error:  # whatever a stranger's module does when it is run
    failures[name] = f"{type(error).__name__}: {error}"
    return None


def _classes(name: str, failures: dict[str, str]) -> Iterator[listing.Row]:
  """Yields the public classes that a module defines, as a gin file names them."""
  module = _load(name, failures)
  for attribute, value in vars(module).items() if module else ():
    ours = inspect.isclass(value) and value.__module__ == name and not attribute.startswith("_")
    if ours and not issubclass(value, (tuple, Exception)):
      yield f"{name.rpartition('.')[2]}.{attribute}", _first_line(value)


def _first_line(documented: object) -> str:
  return (inspect.getdoc(documented) or "").partition("\n")[0]


def _header(path: Path) -> str:
  """Returns the first sentence of a gin file's heading comment."""
  lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
  sentence = " ".join(line.removeprefix("#").strip() for line in lines)
  sentence = re.split(r"\. | (?:On|Run|MODEL):? ", sentence)[0]
  return re.sub(r"^(?:What|Overlay): *", "", sentence).rstrip(".")
