"""gin at the door: finds, parses and checks the configuration before it costs anything.

gin files register what they configure by themselves (`from __gin__ import dynamic_registration` and
plain imports), so nothing in the product is decorated. A binding that nothing would read is an
error: gin itself passes over it in silence.
"""

from __future__ import annotations

import difflib
import importlib.util  # before gin, whose missing-file error needs it and does not import it
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gin

from vggtf import contracts, errors

_PACKAGE = Path(__file__).parent
_JOBS = "vggtf.jobs."
_MACRO = "gin.macro"
# After the current folder, which gin tries first: a checkout's gin/, then a wheel's.
_SEARCH_PATHS = (str(_PACKAGE.parent), str(_PACKAGE))


def parse(files: Sequence[str], params: Sequence[str], modules: Sequence[str] = ()) -> None:
  """Reads gin files, then single bindings, later ones winning, and checks the whole.

  Args:
    files: paths, from the current folder, the checkout or the installed package (`gin/vgg16.gin`).
    params: bindings such as "VGG.width = 0.5".
    modules: what the bindings may name, besides what the files import.

  Raises:
    UsageError: a file, module, name or parameter does not exist, or a binding would do nothing.
  """
  for path in _SEARCH_PATHS:
    if (Path(path) / "gin").is_dir():
      gin.add_config_file_search_path(path)
  gin.config.register_file_reader(*_remote_reader())
  logging.disable()  # gin logs every place where a file is not, then raises
  try:
    # By any stage on the way: what a file or an overlay has put out of use is no mistake.
    read = set()
    for file in files:
      for included in _included(gin.parse_config_file(file)):
        gin.clear_config()
        gin.parse_config_file(included)
        read |= _read_bindings()
    gin.clear_config()
    known = list(modules)
    for file in files:
      known += _imported(gin.parse_config_file(file))
      read |= _read_bindings()
    for param in params:
      _parse_param(param, known)
      read |= _read_bindings()
    gin.finalize()
  except ImportError as error:
    raise errors.UsageError(
      f"the configuration imports a module that cannot be loaded: {error}; is it on PYTHONPATH?"
    ) from error
  except (ValueError, SyntaxError, NameError, OSError, AttributeError, RuntimeError) as error:
    raise errors.UsageError(f"{_one_line(error)}{_suggestion(str(error))}") from error
  finally:
    logging.disable(logging.NOTSET)
  _refuse_ignored(read)


def text() -> str:
  """Returns the whole configuration, all files and bindings merged, as a gin file."""
  return gin.config_str()


def operative_text() -> str:
  """Returns what was really called so far, defaults included, as a gin file."""
  return gin.operative_config_str()


def configured(function: Callable) -> Callable:
  """Returns `function` with its gin bindings applied; itself where gin knows nothing of it."""
  try:
    return gin.get_configurable(function)
  except ValueError:
    return function


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


def _remote_reader() -> tuple[Callable, Callable]:
  """How gin opens gs:// files; gin.tf, which would do this, no longer imports."""

  def is_remote(path: str) -> bool:
    if "://" not in path:
      return False
    import tensorflow as tf  # only now: a local file must not cost TensorFlow's start

    return tf.io.gfile.exists(path)

  def open_remote(path: str):
    import tensorflow as tf

    return tf.io.gfile.GFile(path)

  return open_remote, is_remote


def _parse_param(param: str, modules: Sequence[str]) -> None:
  """Reads one binding; it may name what is bound already, or what is in the modules."""
  if "=" not in param:
    raise errors.UsageError(
      f"--gin_param={param!r} is not a binding; expected 'Name.parameter = value'"
    )
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
      raise unknown from None


def _imported(parsed) -> list[str]:
  """Returns the modules that a parsed gin file and those that it includes import."""
  return [module for include in parsed.includes for module in _imported(include)] + parsed.imports


def _included(parsed) -> Iterator[str]:
  """Yields the files that a parsed gin file includes, directly or not."""
  for include in parsed.includes:
    yield from _included(include)
    yield include.filename


def _read_bindings() -> set[tuple[str, str]]:
  """Returns the (scope, selector) of all that the jobs' run() reach by references, as bound now."""
  bindings = gin.config._CONFIG  # gin-config is pinned: it has no public view of this
  references = list(gin.config.iterate_references(bindings))
  scopes = {scope for reference in references for scope in reference.scopes}
  read = {key for key in bindings if key[1].startswith(_JOBS)}
  frontier = list(read)
  while frontier:
    for reference in gin.config.iterate_references(bindings[frontier.pop()]):
      scope, selector = reference.config_key
      keys = {
        key
        for key in bindings.keys() - read
        if key[1] == selector
        # A scope is still active in what is called within it; a macro's scope is its name.
        and (key[0] == scope or (selector != _MACRO and set(key[0].split("/")) <= scopes | {""}))
      }
      frontier.extend(keys)
      read |= keys
  return read


def _refuse_ignored(read: set[tuple[str, str]]) -> None:
  """Raises UsageError for bindings that do nothing, before anything is built."""
  bindings = [
    (scope, selector, name)
    for (scope, selector), params in gin.config._CONFIG.items()
    for name in params
  ]
  for _, selector, name in bindings:
    if name in contracts.SUPPLIED_BY_JOB:
      raise errors.UsageError(
        f"{selector}.{name} is bound, but it comes from the data's manifest; remove the binding"
      )
  ignored = [
    scope if selector == _MACRO else "/".join(filter(None, [scope, f"{selector}.{name}"]))
    for scope, selector, name in bindings
    if (scope, selector) not in read
  ]
  if ignored:
    macros = [scope for scope, selector in read if selector == _MACRO]
    close = difflib.get_close_matches(ignored[0], macros, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise errors.UsageError(
      f"nothing that a job builds would read: {', '.join(ignored)}.{hint} Remove it, or bind what "
      "it configures to a job's parameter or to a macro that one reads"
    )


def _one_line(error: Exception) -> str:
  """Returns the message, with the place of a syntax error, which its text leaves out."""
  place = ""
  if isinstance(error, SyntaxError):
    place = f" in {error.filename or 'a binding'}: {error.text}"
  return " ".join(f"{error}{place}".split())


def _suggestion(message: str) -> str:
  """Names what the message's unknown parameter or name was most likely meant to be."""
  if match := re.search(r"Configurable '(.+?)' doesn't have a parameter named '(.+?)'", message):
    known = list(inspect.signature(gin.config._REGISTRY.get_match(match[1]).wrapped).parameters)
    wrong = match[2]
  elif match := re.search(r"No configurable matching '(.+?)'", message):
    known = [".".join(name.split(".")[-2:]) for name, _ in gin.config._REGISTRY.items()]
    wrong = match[1].removeprefix("@")
  elif match := re.search(r"module '(.+?)' has no attribute '(.+?)'", message):
    known, wrong = dir(importlib.import_module(match[1])), match[2]
  else:
    return ""
  close = difflib.get_close_matches(wrong, known, 1, cutoff=0.5)
  return f" Did you mean {close[0]}?" if close else f" Known: {', '.join(sorted(known))}."
