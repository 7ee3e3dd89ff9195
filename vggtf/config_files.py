"""gin files as they are written, read without doing anything that they say.

Which modules a file would import, which files it includes and what it binds where must be known
before gin runs it: an import executes code, and gin lets the later of two equal bindings win.
"""

from __future__ import annotations

import dataclasses
import os
import tokenize
from collections.abc import Iterator, Sequence

from gin import config_parser

from vggtf import errors

Key = tuple[str, str, str]  # scope, full name of what is configured, parameter
MACRO = "gin.macro"
_FEATURES = "__gin__."


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a statement stands.

  source: which of the command line's files and bindings brought it, counted from 0.
  text: "file:line", or the binding's flag.
  """

  source: int
  text: str


@dataclasses.dataclass
class Statements:
  """What a gin file says, with all that it includes.

  bindings: in the order in which they count. imports: module and place. names: what its own
  imports call them, by their short name.
  """

  bindings: list[tuple[Key, Place]] = dataclasses.field(default_factory=list)
  imports: list[tuple[str, Place]] = dataclasses.field(default_factory=list)
  names: dict[str, str] = dataclasses.field(default_factory=dict)


def read(path: str, search: Sequence[str], source: int, within: tuple[str, ...] = ()) -> Statements:
  """Returns the statements of a file.

  Args:
    path: of the file; looked for in the current folder and in `search`.
    search: folders.
    source: of the places.
    within: the files that include this one, outermost first.

  Raises:
    UsageError: there is no such file, it includes itself, it is no gin file, or it binds a
      parameter twice.
  """
  found = find(path, search, within)
  if found in within:
    raise errors.UsageError(f"{within[-1]} includes {path}, which it is included by")
  said, first = Statements(), {}
  for statement in _parse(found):
    place = Place(source, f"{found}:{statement.location.line_num}")
    match statement:
      case config_parser.IncludeStatement():
        included = read(statement.filename, search, source, (*within, found))
        said.bindings += included.bindings
        said.imports += included.imports
      case config_parser.ImportStatement() if not statement.module.startswith(_FEATURES):
        said.imports.append((statement.module, place))
        said.names[statement.bound_name()] = statement.partial_path()
      case config_parser.BindingStatement():
        key = _key(statement, said.names)
        if key in first:
          raise errors.UsageError(
            f"{place.text}: {spell(key)} is bound already in line {first[key]}; remove one"
          )
        first[key] = statement.location.line_num
        said.bindings.append((key, place))
  return said


def read_binding(text: str) -> Key:
  """Returns what a single binding names, as it is spelt there.

  Raises:
    UsageError: the text is no binding, or more than one.
  """
  try:
    statements = list(config_parser.ConfigParser(text, _Names()))
  except (SyntaxError, tokenize.TokenError) as error:
    raise errors.UsageError(_not_a_binding(text) + f" ({error.args[0]})") from None
  if len(statements) != 1 or not isinstance(statements[0], config_parser.BindingStatement):
    raise errors.UsageError(_not_a_binding(text))
  return _key(statements[0], {})


def find(path: str, search: Sequence[str], within: tuple[str, ...] = ()) -> str:
  """Returns the path under which a gin file is found; raises UsageError if it is nowhere."""
  candidates = [path] if os.path.isabs(path) or "://" in path else ["", *search]
  for folder in candidates:
    candidate = path if folder == path else os.path.join(folder, path)
    if _exists(candidate):
      return candidate
  where = "" if candidates == [path] else f"; looked in {', '.join(['.', *search])}"
  included = f", which {within[-1]} includes" if within else ""
  raise errors.UsageError(
    f"there is no file {path}{included}{where} (--gin_search_paths adds more)"
  )


def open_remote(path: str):
  """Opens a file of a remote file system that TensorFlow knows, such as gs://."""
  import tensorflow as tf  # only now: a local file must not cost TensorFlow's start

  return tf.io.gfile.GFile(path)


def is_remote(path: str) -> bool:
  """Returns whether there is such a remote file."""
  if "://" not in path:
    return False
  import tensorflow as tf

  return tf.io.gfile.exists(path)


def spell(key: Key) -> str:
  """Returns a binding's name as a gin file writes it, with the module's last name."""
  scope, selector, parameter = key
  if selector == MACRO:
    return scope
  short = ".".join(selector.split(".")[-2:])
  return "/".join(filter(None, [scope, f"{short}.{parameter}"]))


class _Names:
  """Keeps references by name, where gin would look them up."""

  def configurable_reference(self, name: str, evaluate: bool) -> tuple:
    return name, evaluate

  def macro(self, name: str) -> tuple:
    return (name,)


def _parse(path: str) -> Iterator:
  reader = open_remote if "://" in path else open
  try:
    with reader(path) as file:
      yield from config_parser.ConfigParser(file, _Names())
  except SyntaxError as error:
    raise errors.UsageError(
      f"{path}:{error.lineno}: {error.msg} {' '.join((error.text or '').split())!r}"
    ) from None
  except tokenize.TokenError as error:
    raise errors.UsageError(f"{path}:{error.args[1][0]}: {error.args[0]}") from None
  except (UnicodeDecodeError, IsADirectoryError) as error:
    raise errors.UsageError(f"{path} is no gin file: {error}") from None


def _key(statement: config_parser.BindingStatement, names: dict[str, str]) -> Key:
  scope, selector, parameter, *_ = statement
  if not parameter:
    return "/".join(filter(None, [scope, selector])), MACRO, "value"
  head, _, rest = selector.partition(".")
  return scope, ".".join(filter(None, [names.get(head, head), rest])), parameter


def _not_a_binding(text: str) -> str:
  return f"--gin_param={text!r} is not a binding; expected one, 'Name.parameter = value'"


def _exists(path: str) -> bool:
  return is_remote(path) if "://" in path else os.path.exists(path)
