"""What can be wrong with a parsed configuration, found before anything is built.

gin takes any value for any parameter and passes over bindings that nothing reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping

import gin

from vggtf import config_types, contracts, errors
from vggtf.config_files import MACRO, Key, Place, spell

_JOBS = "vggtf.jobs."

Places = Mapping[Key, list[Place]]


def reached() -> set[tuple[str, str]]:
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
        and (key[0] == scope or (selector != MACRO and set(key[0].split("/")) <= scopes | {""}))
      }
      frontier.extend(keys)
      read |= keys
  return read


def check(read: set[tuple[str, str]], places: Places, allowed: Callable[[str], bool]) -> None:
  """Refuses a configuration that could not run, with all that is wrong with it.

  Args:
    read: what the jobs reach, by any stage of the files.
    places: where each parameter was bound, the last place being that which counts.
    allowed: whether a module may be used.

  Raises:
    UsageError: something is bound that must not be, has the wrong type, lacks a method that its
      job will call, is still required, or would be ignored.
  """
  if problems := list(_forbidden(allowed)):
    raise errors.UsageError("; ".join(problems))
  problems = [*_required(), *_supplied(), *config_types.mistyped(), *_ignored(read)]
  if problems:  # a macro that several parameters read is told of once
    told = dict.fromkeys(_place(places, key) + text for key, text in problems)
    raise errors.UsageError("; ".join(told))


def _forbidden(allowed: Callable[[str], bool]) -> Iterator[str]:
  """Yields what lies outside of the allowed modules, such as the `os` that one of them imports."""
  named = {
    reference.configurable for reference in gin.config.iterate_references(gin.config._CONFIG)
  }
  named |= {gin.config._REGISTRY[selector] for _, selector in gin.config._CONFIG}
  for configurable in sorted(named, key=lambda one: one.selector):
    module = configurable.wrapped.__module__ or ""
    if module != "gin.config" and not allowed(module):
      root = module.partition(".")[0]
      yield (
        f"{configurable.selector} belongs to {module!r}, outside of vggtf; allow it with "
        f"--gin_allow_import={root}"
      )


def _required() -> Iterator[tuple[Key, str]]:
  bound = [scope for scope, selector in gin.config._CONFIG if selector == MACRO]
  for key, value in config_types.bindings():
    if config_types.resolve(value) is gin.REQUIRED and not config_types.is_macro(value):
      yield key, f"{spell(key)} is required: bind it"
    for reference in gin.config.iterate_references([value]):
      name = "/".join(reference.scopes)
      if config_types.is_macro(reference) and name not in bound:
        yield key, f"%{name} is bound nowhere.{_closest(name, bound)}"


def _supplied() -> Iterator[tuple[Key, str]]:
  for key, _ in config_types.bindings():
    _, selector, name = key
    if name in contracts.SUPPLIED_BY_JOB and not selector.startswith(_JOBS):
      yield (
        key,
        f"{spell(key)} is bound, but it comes from the data's manifest: remove the binding",
      )


def _ignored(read: set[tuple[str, str]]) -> Iterator[tuple[Key, str]]:
  macros = [scope for scope, selector in read if selector == MACRO]
  for key, _ in config_types.bindings():
    if key[:2] not in read:
      name = key[0] if key[1] == MACRO else "/".join(filter(None, [key[0], ".".join(key[1:])]))
      yield (
        key,
        f"nothing that a job builds would read: {name}.{_closest(name, macros)} Remove it, or bind "
        "what it configures to a job's parameter or to a macro that one reads",
      )


def _closest(name: str, known: Iterable[str]) -> str:
  close = difflib.get_close_matches(name, known, 1)
  return f" Did you mean {close[0]}?" if close else ""


def _place(places: Places, key: Key) -> str:
  return f"{places[key][-1].text}: " if places.get(key) else ""
