"""Values against the annotations of the parameters that they are bound to; gin takes any."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterator

import beartype
import beartype.door
import beartype.roar
import gin

from vggtf.config_files import MACRO, Key, spell

_NUMBERS = beartype.BeartypeConf(is_pep484_tower=True)  # 1 is a good float
_UNKNOWN = object()  # what is not known yet, such as what a reference with () will return


def bindings() -> Iterator[tuple[Key, object]]:
  """Yields every binding of the parsed configuration."""
  for (scope, selector), parameters in gin.config._CONFIG.items():
    for name, value in parameters.items():
      yield (scope, selector, name), value


def mistyped() -> Iterator[tuple[Key, str]]:
  """Yields the bindings whose values do not fit, and why."""
  for key, given in bindings():
    if key[1] == MACRO:
      continue  # it is checked where it is read
    hint = _hint(gin.config._REGISTRY[key[1]].wrapped, key[2])
    while is_macro(given) and given.config_key in gin.config._CONFIG:
      key, given = (*given.config_key, "value"), gin.config._CONFIG[given.config_key]["value"]
    value = resolve(given)
    if value is gin.REQUIRED:
      continue
    product = _product(hint)
    if getattr(product, "_is_protocol", False):
      several = typing.get_origin(hint) is collections.abc.Sequence
      pairs = zip(given, value, strict=True) if several and _is_row(value) else [(given, value)]
      for problem in filter(None, (_unfit(*pair, product) for pair in pairs)):
        yield key, f"{spell(key)} = {given!r}: {problem}"
    elif product and (problem := _misquoted(given, value, product)):
      yield key, f"{spell(key)} = {given!r}: {problem}"
    elif not _fits(value, hint):
      yield key, f"{spell(key)} = {given!r}: expected {inspect.formatannotation(hint)}"


def _hint(configured: Callable, name: str) -> object:
  """Returns the parameter's annotation; Any where there is none, or none that can be evaluated."""
  function = configured.__init__ if inspect.isclass(configured) else configured
  annotations = getattr(function, "__annotations__", {})
  holder = types.SimpleNamespace(__annotations__={name: annotations.get(name, typing.Any)})
  try:
    return typing.get_type_hints(holder, function.__globals__)[name]
  except (AttributeError, NameError, TypeError):
    return typing.Any


def resolve(value: object) -> object:
  """Returns a value with macros followed, and references replaced by what they refer to."""
  if isinstance(value, gin.config.ConfigurableReference):
    if value.configurable.wrapped is gin.config.macro:
      bound = gin.config._CONFIG.get(value.config_key, {"value": _UNKNOWN})
      return resolve(bound["value"])
    if value.configurable.selector == "gin.constant":
      return value.scoped_configurable_fn()
    return _UNKNOWN if value.evaluate else value.configurable.wrapped
  if isinstance(value, dict):
    return {key: resolve(one) for key, one in value.items()}
  if isinstance(value, (list, tuple)):
    return type(value)(map(resolve, value))
  return value


def is_macro(value: object) -> bool:
  """Returns whether a value is that of a macro, such as %MODEL."""
  reference = isinstance(value, gin.config.ConfigurableReference)
  return reference and value.configurable.wrapped is gin.config.macro


def _product(hint: object) -> type | None:
  """Returns the class of what a parameter's function returns, such as the contract of a part."""
  for one in (hint, *typing.get_args(hint)):
    if typing.get_origin(one) is collections.abc.Callable:
      returned = typing.get_args(one)[-1]
      return returned if inspect.isclass(returned) else None
  return None


def _misquoted(given: object, value: object, product: type) -> str | None:
  """Returns what is wrong with a class where a function is expected that returns a `product`."""
  made = getattr(given, "configurable", None) if value is _UNKNOWN else None
  if made and inspect.isclass(made.wrapped) and issubclass(made.wrapped, product):
    return "a constructor is expected: write it without ()"
  if inspect.isclass(value) and _is_called(value) and not _is_called(product):
    return f"{value.__name__} is a class, an object of it is expected: write it with ()"
  return None


def _is_called(one: type) -> bool:
  """Returns whether objects of a class are functions."""
  return any("__call__" in vars(base) for base in one.__mro__)


def _unfit(given: object, value: object, protocol: type) -> str | None:
  """Returns why a value does not construct what fulfils a protocol."""
  if value is None:
    return None
  if value is _UNKNOWN:
    return "a constructor is expected: write it without ()"
  if not callable(value):
    return f"expected a reference to a {protocol.__name__}, such as @module.Name"
  if not inspect.isclass(value) or any("__getattr__" in vars(base) for base in value.__mro__):
    return None  # what a function returns is not known yet
  methods = [name for name, one in vars(protocol).items() if inspect.isfunction(one)]
  lacking = [
    name
    for name in methods
    if (name == "__call__" or not name.startswith("_"))
    and not any(name in vars(base) for base in value.__mro__)
  ]
  if lacking:
    return f"it lacks {', '.join(lacking)} of a {protocol.__name__} (vggtf/contracts.py)"
  return None


def _fits(value: object, hint: object) -> bool:
  """Returns whether a value has the annotated type."""
  if _holds(value, _UNKNOWN):
    return True
  if isinstance(value, bool) and {int, float} & _parts(hint) and bool not in _parts(hint):
    return False  # Python takes True for 1
  try:
    if isinstance(value, str):  # Python takes a text for a row of letters
      return any(_is_bearable(value, one) for one in _parts(hint) if not _is_row_of(one))
    if not _is_bearable(value, hint):
      return isinstance(value, list) and _is_bearable(tuple(value), hint)
    # beartype looks at one item alone; each is looked at here. All would fail a type that counts
    # its items, such as tuple[int, int].
    if isinstance(value, dict):
      single = [{key: one} for key, one in value.items()]
    else:
      single = [(one,) for one in value] if isinstance(value, (list, tuple)) else []
    fitting = [_is_bearable(one, hint) for one in single]
    return all(fitting) or not any(fitting)
  except beartype.roar.BeartypeException:  # a type that cannot be checked
    return True


def _is_bearable(value: object, hint: object) -> bool:
  return beartype.door.is_bearable(value, hint, conf=_NUMBERS)


def _is_row(value: object) -> bool:
  return isinstance(value, (list, tuple))


def _is_row_of(hint: object) -> bool:
  """Returns whether a type is that of several of something, such as Sequence[str]."""
  origin = typing.get_origin(hint)
  return inspect.isclass(origin) and issubclass(origin, collections.abc.Iterable)


def _parts(hint: object) -> set:
  """Returns the alternatives of a union, or the type itself."""
  union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  return set(typing.get_args(hint)) if union else {hint}


def _holds(value: object, wanted: object) -> bool:
  if isinstance(value, dict):
    value = tuple(value.values())
  if isinstance(value, (list, tuple)):
    return any(_holds(one, wanted) for one in value)
  return value is wanted
