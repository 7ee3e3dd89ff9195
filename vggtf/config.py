"""gin at the door: finds, parses and checks the configuration before it costs anything.

gin files register what they configure by themselves (`from __gin__ import dynamic_registration` and
plain imports), so nothing in the product is decorated. What gin would pass over in silence is
refused: config_files.py and config_imports.py look before gin parses, config_checks.py and
config_types.py at what it made of the files.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util  # before gin, whose missing-file error needs it and does not import it
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gin

from vggtf import config_checks, config_files, config_imports, errors
from vggtf import workdir as workdirs
from vggtf.config_imports import announced

__all__ = [
  "announced",
  "arguments",
  "configured",
  "files",
  "operative_text",
  "origins",
  "parse",
  "text",
  "unbound",
  "within_run",
]

_log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent
# After the current folder: a checkout's gin/, then a wheel's.
_SEARCH_PATHS = tuple(str(path) for path in (_PACKAGE.parent, _PACKAGE) if (path / "gin").is_dir())
_origins: dict[str, str] = {}
# Where gin keeps a configuration.
_STATE = (gin.config._CONFIG, gin.config._IMPORTS, gin.config._OPERATIVE_CONFIG)
_given: dict = {}  # the arguments of the last `parse`


def parse(
  files: Sequence[str],
  params: Sequence[str],
  modules: Sequence[str] = (),
  allow_imports: Sequence[str] = (),
  search_paths: Sequence[str] = (),
  kept: str | None = None,
) -> None:
  """Reads gin files, then single bindings, later ones winning, and checks the whole.

  Args:
    files: paths, from the current folder, `search_paths`, the checkout or the installed package
      (`gin/vgg16.gin`).
    params: bindings such as "VGG.width = 0.5".
    modules: what the bindings may name, besides what the files import.
    allow_imports: modules that the files may import, beside vggtf and what installed packages
      announce (entry points of the group vggtf.plugins).
    search_paths: folders where files are looked for before those of vggtf.
    kept: the file that a run wrote of its configuration, read before all others. It does not show
      which overlay put a binding out of use, so what it leaves unread is no mistake.

  Raises:
    UsageError: a file, module, name or parameter does not exist, a value has a wrong type, or a
      binding is missing or would do nothing.
  """
  _given.update(
    files=files,
    params=params,
    modules=modules,
    allow_imports=allow_imports,
    search_paths=search_paths,
    kept=kept,
  )
  search = (*search_paths, *_SEARCH_PATHS)
  files = [*([kept] if kept else []), *files]
  said = [config_files.read(file, search, source) for source, file in enumerate(files)]
  allowed = config_imports.allow(allow_imports)
  config_imports.load([one for each in said for one in each.imports], allowed)
  gin.config._LOCATION_PREFIXES[:] = ["", *search]
  gin.config.register_file_reader(config_files.open_remote, config_files.is_remote)
  places: dict[config_files.Key, list[config_files.Place]] = {}
  for each in said:
    for key, place in each.bindings:
      places.setdefault(key, []).append(place)
  logging.disable()  # gin logs every place where a file is not
  try:
    # By any stage on the way: what a file or an overlay has put out of use is no mistake.
    read = set()
    for file in files:
      for included in _included(gin.parse_config_file(file)):
        gin.clear_config()
        gin.parse_config_file(included)
        read |= config_checks.reached()
    gin.clear_config()
    known = list(modules)
    for file in files:
      known += _imported(gin.parse_config_file(file))
      read |= config_checks.reached() if file != kept else set(gin.config._CONFIG)
    for source, param in enumerate(params, len(files)):
      key = _parse_param(param, known)
      place = config_files.Place(source, f"--gin_param={param!r}")
      places.setdefault(key, []).append(place)
      read |= config_checks.reached()
    config_checks.check(read, places, allowed)
    gin.finalize()
  except RecursionError:
    raise errors.UsageError(
      "macros refer to one another in a circle: bind one to a value"
    ) from None
  except (ValueError, SyntaxError, NameError, OSError, AttributeError, RuntimeError) as error:
    raise errors.UsageError(_located(error)) from error
  finally:
    logging.disable(logging.NOTSET)
  _origins.clear()
  _origins.update({config_files.spell(key): bound[-1].text for key, bound in places.items()})
  for key, bound in places.items():
    if bound[-1].source != bound[0].source:
      first = [place for place in bound if place.source != bound[-1].source][-1]
      _log.info("%s of %s overrides %s", config_files.spell(key), bound[-1].text, first.text)


@contextlib.contextmanager
def within_run(workdir: str) -> Iterator[None]:
  """Makes current what this command would be configured to if it were given another run.

  That run's own configuration takes the place of this one's, under the same files and bindings.

  Args:
    workdir: the other run's folder.

  Raises:
    UsageError: the folder holds no configuration, or the two do not fit.
  """
  kept = workdirs.Workdir(workdir).config
  if not kept.exists():
    raise errors.UsageError(f"{workdir} holds no run ({kept.name} is missing); train one there")
  before, given = [place.copy() for place in _STATE], dict(_given)
  try:
    with gin.unlock_config():
      gin.clear_config()
      parse(**given | {"kept": str(kept)})
    yield
  finally:
    for place, content in zip(_STATE, before, strict=True):
      place.clear()
      place.update(content)
    _given.update(given)


def files() -> dict[str, Path]:
  """Returns the gin files that come along: what --gin_file calls them, and where they lie."""
  return {
    str(path.relative_to(folder)): path
    for folder in _SEARCH_PATHS[:1]
    for path in sorted((Path(folder) / "gin").rglob("*.gin"))
  }


def text() -> str:
  """Returns the whole configuration, all files and bindings merged, as a gin file."""
  return gin.config_str()


def origins() -> dict[str, str]:
  """Returns where each binding of the last `parse` was found, by its name: file:line, or a flag."""
  return dict(_origins)


def operative_text() -> str:
  """Returns what was really called so far, defaults included, as a gin file."""
  return gin.operative_config_str()


def configured(function: Callable) -> Callable:
  """Returns `function` with its gin bindings applied; itself where gin knows nothing of it."""
  try:
    return gin.get_configurable(function)
  except ValueError:
    return function


def arguments(called: Callable | str) -> dict[str, Any]:
  """Returns the defaults and bindings that a call would get; nothing of what gin does not know.

  Args:
    called: what a reference is resolved to, or a full name, such as "vggtf.jobs.train.run".
  """
  name = called if isinstance(called, str) else f"{called.__module__}.{called.__qualname__}"
  known = gin.config._REGISTRY.get_match(name)
  if known is None:
    return {}
  parameters = inspect.signature(known.wrapped).parameters
  defaults = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
  return defaults | gin.get_bindings(name)


def unbound(function: Callable, given: Sequence[str]) -> list[str]:
  """Returns the parameters of `function` that have no default, are not given and not bound."""
  bound = {
    name
    for (_, selector), params in gin.config._CONFIG.items()
    if selector == f"{function.__module__}.{function.__qualname__}"
    for name in params
  }
  return [
    name
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.default is parameter.empty and name not in bound and name not in given
  ]


def _parse_param(param: str, modules: Sequence[str]) -> config_files.Key:
  """Reads one binding; it may name what is bound already, or what is in the modules."""
  scope, selector, parameter = config_files.read_binding(param)
  try:
    gin.parse_config(param)
  except ValueError as unknown:
    imports = ["from __gin__ import dynamic_registration"]
    for module in dict.fromkeys(modules):
      package, _, name = module.rpartition(".")
      if package != "__gin__":
        imports.append(f"from {package} import {name}" if package else f"import {name}")
    try:
      gin.parse_config("\n".join([*imports, param]))
    except (NameError, AttributeError):
      raise errors.UsageError(f"--gin_param={param!r}: {_explain(unknown)}") from None
    except ValueError as error:
      unpacked = str(error).startswith("not enough values")  # gin, of an unknown name's parts
      told = _explain(unknown if unpacked else error)
      raise errors.UsageError(f"--gin_param={param!r}: {told}") from None
  if selector != config_files.MACRO:
    selector = gin.config._REGISTRY.get_match(selector).selector
  return scope, selector, parameter


def _imported(parsed) -> list[str]:
  """Returns the modules that a parsed gin file and those that it includes import."""
  return [module for include in parsed.includes for module in _imported(include)] + parsed.imports


def _included(parsed) -> Iterator[str]:
  """Yields the files that a parsed gin file includes, directly or not."""
  for include in parsed.includes:
    yield from _included(include)
    yield include.filename


_GIN_PLACE = re.compile(r'\n  In (?:file "(.+?)", line (\d+)|bindings string line \d+)\n')


def _located(error: Exception) -> str:
  """Returns gin's message as "file:line: what is wrong, and what was meant"."""
  place = _GIN_PLACE.search(str(error))
  return (f"{place[1]}:{place[2]}: " if place and place[1] else "") + _explain(error)


def _explain(error: Exception) -> str:
  """Returns the message without its place, and what its unknown name was likely meant to be."""
  message = " ".join(_GIN_PLACE.split(str(error))[0].split())
  if match := re.search(r"Configurable '(.+?)' doesn't have a parameter named '(.+?)'", message):
    configured = gin.config._REGISTRY.get_match(match[1]).wrapped
    known, wrong = list(inspect.signature(configured).parameters), match[2]
  elif match := re.search(r"No configurable matching (?:reference )?'@?(.+?)(?:\(\))?'", message):
    known = [".".join(name.split(".")[-2:]) for name, _ in gin.config._REGISTRY.items()]
    wrong = match[1]
  elif match := re.search(r"selector (\S+); <module '(.+?)'.*> has no attribute (\S+)\.", message):
    known, wrong = dir(importlib.import_module(match[2])), match[3]
    message = f"{match[1]}: {match[2]} has no {wrong}."
  elif match := re.search(r"'(.+?)' was not provided by an import statement", message):
    return f"{message} Import its module in this file"
  else:
    return message
  close = difflib.get_close_matches(wrong, known, 1, cutoff=0.5)
  return f"{message} " + (f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}.")
