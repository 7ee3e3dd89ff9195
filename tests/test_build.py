"""BUILD against the real imports: targets, deps, floors and plugin folders."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("vggtf", "data_tools")

# From the roof to the ground; an import goes down, at least one floor. The rows of data_tools stand
# on top so that nothing of vggtf may import it, and ONLY keeps it from all but the ground.
FLOORS = (
  ("convert", "verify", "show", "digits"),
  ("sources",),
  ("data_tools",),
  ("main",),
  ("config",),
  ("jobs",),
  ("weights",),
  ("training", "evaluators", "export", "reports"),
  ("models", "losses", "optimizers", "predictors"),
  ("data", "nn"),
  ("addons", "images", "metrics", "precision", "records", "manifest", "workdir"),
  ("contracts", "results", "schema"),
  ("children", "errors", "malloc", "owner"),
  ("vggtf",),
)
# What a target may import at most, where the floors alone allow more.
GROUND = {"errors", "malloc", "owner", "schema", "records", "manifest", "vggtf"}
ONLY = {
  "convert": GROUND | {"data_tools"},
  "verify": GROUND | {"data_tools"},
  "show": GROUND | {"data_tools"},
  "digits": GROUND | {"data_tools"},
  "sources": GROUND | {"data_tools"},
  "data_tools": GROUND,
  "reports": {"contracts", "errors", "results", "workdir"},
}
# Modules that flags, gin files and tests name, and no code. Predictors wrap one another.
PLUGINS = (
  "data_tools/sources",
  "vggtf/jobs",
  "vggtf/models",
  "vggtf/losses",
  "vggtf/optimizers",
  "vggtf/predictors",
)
SIBLINGS = ("vggtf/predictors",)


@dataclasses.dataclass(frozen=True)
class Target:
  name: str
  line: int
  srcs: tuple[str, ...]
  deps: tuple[str, ...]


def read_build(root: pathlib.Path) -> list[Target]:
  """Returns the libraries and binaries of BUILD; anything it cannot evaluate raises."""
  constants: dict[str, list[str]] = {}

  def value(node: ast.expr):
    match node:
      case ast.Constant():
        return node.value
      case ast.List():
        return [value(item) for item in node.elts]
      case ast.Name() if node.id in constants:
        return constants[node.id]
      case ast.BinOp(op=ast.Add()):
        return value(node.left) + value(node.right)
      case ast.Call(func=ast.Name(id="glob")):
        names = {keyword.arg: value(keyword.value) for keyword in node.keywords}
        found = {path for pattern in value(node.args[0]) for path in root.glob(pattern)}
        found -= {path for pattern in names.get("exclude", []) for path in root.glob(pattern)}
        return sorted(path.relative_to(root).as_posix() for path in found)
    raise ValueError(f"BUILD:{node.lineno}: cannot evaluate {ast.unparse(node)}")

  targets = []
  for node in ast.parse((root / "BUILD").read_text(encoding="utf-8")).body:
    match node:
      case ast.Assign(targets=[ast.Name(id=name)]):
        constants[name] = value(node.value)
      case ast.Expr(value=ast.Call(func=ast.Name(id="py_library" | "py_binary")) as call):
        fields = {keyword.arg: keyword.value for keyword in call.keywords}
        name, srcs, deps = (
          value(fields[field]) if field in fields else [] for field in ("name", "srcs", "deps")
        )
        deps = tuple(dep.removeprefix(":") for dep in deps)
        targets.append(Target(name, call.lineno, tuple(srcs), deps))
  return targets


def module_files(root: pathlib.Path) -> dict[str, str]:
  """Returns the file of each module of PACKAGES, by dotted name."""
  files = {}
  for package in PACKAGES:
    for path in sorted((root / package).rglob("*.py")):
      relative = path.relative_to(root)
      parts = relative.with_suffix("").parts
      files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = relative.as_posix()
  return files


def imports(root: pathlib.Path, module: str, files: dict[str, str]) -> Iterator[tuple[int, str]]:
  """Yields (line, dotted name) of all that `module` imports from PACKAGES.

  Imports inside functions and under TYPE_CHECKING count: both say what a file knows of.
  """
  path = files[module]
  for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      origin = node.module or ""
      if node.level:
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        origin = ".".join([*above, *([node.module] if node.module else [])])
      # What is no module of its own is a name inside the module.
      names = [f"{origin}.{alias.name}" for alias in node.names]
      names = [name if name in files or origin not in files else origin for name in names]
    else:
      continue
    for name in names:
      if name.partition(".")[0] in PACKAGES:
        yield node.lineno, name


def cycle(graph: dict[str, set[str]]) -> list[str]:
  """Returns one cycle of the graph, its first node repeated at the end, or an empty list."""
  try:
    graphlib.TopologicalSorter(graph).prepare()
  except graphlib.CycleError as error:
    return error.args[1][::-1]
  return []


def check(root: pathlib.Path) -> list[str]:
  """Returns what is wrong with BUILD and the imports, one `file:line: ...` each."""
  problems = []
  targets = {target.name: target for target in read_build(root)}
  floor = {name: row for row, names in enumerate(FLOORS) for name in names}
  files = module_files(root)

  owner: dict[str, str] = {}
  for target in targets.values():
    if target.name not in floor:
      problems.append(f"BUILD:{target.line}: :{target.name} stands on no floor; add it to FLOORS")
    for dep in target.deps:
      if dep not in targets:
        problems.append(f"BUILD:{target.line}: :{target.name} needs :{dep}, which is no target")
    for source in target.srcs:
      if not (root / source).is_file():
        problems.append(f"BUILD:{target.line}: :{target.name} has {source}, which does not exist")
      if source in owner:
        problems.append(f"{source}:1: in two targets, :{owner[source]} and :{target.name}")
      owner.setdefault(source, target.name)
  problems += [f"{path}:1: in no target of BUILD" for path in files.values() if path not in owner]

  between_targets: dict[str, set[str]] = {name: set() for name in targets}
  between_files: dict[str, set[str]] = {}
  for module, path in files.items():
    between_files[path] = set()
    for line, name in imports(root, module, files):
      where, folder = f"{path}:{line}", path.rpartition("/")[0]
      imported = files.get(name)
      if imported is None:
        problems.append(f"{where}: imports {name}, which no file defines")
        continue
      between_files[path].add(imported)

      home, _, file = imported.rpartition("/")
      if home in PLUGINS and file != "__init__.py" and (folder != home or home not in SIBLINGS):
        problems.append(f"{where}: imports the plugin {name}; only flags, gin, tests may")

      source, target = owner.get(path), owner.get(imported)
      if source is None or target is None or source == target:
        continue
      between_targets[source].add(target)
      if target not in targets[source].deps:
        build = f"BUILD:{targets[source].line}"
        problems.append(f"{where}: imports {name}, but :{target} is not in the deps of {build}")
      if source in floor and target in floor and floor[source] >= floor[target]:
        problems.append(f"{where}: imports {name}, which is not on a lower floor than :{source}")
      if source in ONLY and target not in ONLY[source]:
        problems.append(f"{where}: imports {name}; :{source} may not import :{target}")

  for target in targets.values():
    for dep in target.deps:
      if dep in targets and dep not in between_targets[target.name]:
        problems.append(f"BUILD:{target.line}: no file of :{target.name} imports :{dep}")
  for graph in (between_files, {name: set(target.deps) for name, target in targets.items()}):
    if loop := cycle(graph):
      problems.append(f"BUILD:1: a cycle: {' -> '.join(loop)}")
  return sorted(problems)


def test_build_says_what_the_code_does():
  assert not (problems := check(ROOT)), "\n" + "\n".join(problems)


# The checker itself, on a small house that stands, and with one thing broken at a time.

HOUSE = {
  "BUILD": """
load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")
PLUGINS = [":jobs"]
py_binary(name = "main", srcs = ["vggtf/main.py"], data = PLUGINS, deps = [":errors", ":jobs"])
py_library(name = "jobs", srcs = glob(["vggtf/jobs/**/*.py"]), deps = [":data"])
py_library(name = "predictors", srcs = glob(["vggtf/predictors/*.py"]))
py_library(name = "data", srcs = glob(["vggtf/data/*.py"]), deps = [":errors", ":images"])
py_library(name = "images", srcs = ["vggtf/images.py"])
py_library(name = "errors", srcs = glob(["vggtf/*.py"], exclude = ["vggtf/[!e]*.py"]))
py_library(name = "vggtf", srcs = ["vggtf/__init__.py"])
py_library(name = "data_tools", srcs = glob(["data_tools/*.py"]), deps = [":errors"])
[py_test(name = test, srcs = [test]) for test in glob(["tests/test_*.py"])]
""",
  "vggtf/__init__.py": "",
  "vggtf/main.py": "from vggtf import errors, jobs\n",
  "vggtf/jobs/__init__.py": "",
  "vggtf/jobs/train.py": "import numpy\nimport vggtf.data.order\n",
  "vggtf/predictors/centre.py": "",
  "vggtf/predictors/dense.py": "from vggtf.predictors import centre\n",
  "vggtf/data/__init__.py": "",
  "vggtf/data/order.py": "def f():\n  from vggtf.errors import VggtfError\n",
  "vggtf/data/view.py": "from vggtf import images\nfrom . import order\n",
  "vggtf/images.py": "",
  "vggtf/errors.py": "",
  "data_tools/verify.py": "from vggtf import errors\n",
}


def build_house(root: pathlib.Path, changes: dict[str, str]) -> pathlib.Path:
  for name, text in {**HOUSE, **changes}.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
  return root


def build_with(old: str, new: str) -> dict[str, str]:
  assert old in HOUSE["BUILD"]
  return {"BUILD": HOUSE["BUILD"].replace(old, new)}


def test_a_sound_house_passes(tmp_path):
  assert check(build_house(tmp_path, {})) == []


@pytest.mark.parametrize(
  ("changes", "problem"),
  [
    pytest.param(
      {"vggtf/data/view.py": "from vggtf import errors, images, records\n", "vggtf/records.py": ""}
      | build_with('"vggtf/images.py"', '"vggtf/images.py", "vggtf/records.py"'),
      None,
      id="several_files_in_one_target",
    ),
    pytest.param(
      {"vggtf/jobs/train.py": "import vggtf.data.order\n\nfrom vggtf import errors\n"},
      "vggtf/jobs/train.py:3: imports vggtf.errors, but :errors is not in the deps of BUILD:5",
      id="undeclared",
    ),
    pytest.param(
      {"vggtf/data/order.py": "if TYPE_CHECKING:\n  from vggtf.main import run\n"}
      | {"vggtf/data/view.py": "from vggtf import errors, images\n"},
      "vggtf/data/order.py:2: imports vggtf.main, but :main is not in the deps of BUILD:7",
      id="type_checking_counts",
    ),
    pytest.param(
      {"vggtf/data/view.py": "\n"},
      "BUILD:7: no file of :data imports :images",
      id="unused_dep",
    ),
    pytest.param(
      {"vggtf/stray.py": ""},
      "vggtf/stray.py:1: in no target of BUILD",
      id="in_no_target",
    ),
    pytest.param(
      build_with('glob(["vggtf/*.py"], exclude = ["vggtf/[!e]*.py"])', 'glob(["vggtf/[ei]*.py"])'),
      "vggtf/images.py:1: in two targets, :images and :errors",
      id="in_two_targets",
    ),
    pytest.param(
      build_with('":images"]', '":images", ":nowhere"]'),
      "BUILD:7: :data needs :nowhere, which is no target",
      id="unknown_dep",
    ),
    pytest.param(
      build_with('"vggtf/images.py"', '"vggtf/images.py", "vggtf/gone.py"'),
      "BUILD:8: :images has vggtf/gone.py, which does not exist",
      id="no_such_source",
    ),
    pytest.param(
      build_with('name = "predictors"', 'name = "cellar"'),
      "BUILD:6: :cellar stands on no floor; add it to FLOORS",
      id="no_floor",
    ),
    pytest.param(
      {"vggtf/images.py": "from .data import order\n"},
      "vggtf/images.py:1: imports vggtf.data.order, which is not on a lower floor than :images",
      id="upward",
    ),
    pytest.param(
      {"data_tools/verify.py": "from vggtf import errors, images\n"},
      "data_tools/verify.py:1: imports vggtf.images; :data_tools may not import :images",
      id="beyond_the_ground",
    ),
    pytest.param(
      {"vggtf/main.py": "from vggtf import errors\nfrom vggtf.jobs import train\n"},
      "vggtf/main.py:2: imports the plugin vggtf.jobs.train; only flags, gin, tests may",
      id="plugin",
    ),
    pytest.param(
      {"vggtf/jobs/evaluate.py": "from vggtf.jobs import train\n"},
      "vggtf/jobs/evaluate.py:1: imports the plugin vggtf.jobs.train; only flags, gin, tests may",
      id="sibling_plugin",
    ),
    pytest.param(
      {"vggtf/data/order.py": "from vggtf import errors\nfrom vggtf.data import view\n"},
      "BUILD:1: a cycle: vggtf/data/order.py -> vggtf/data/view.py -> vggtf/data/order.py",
      id="cycle_of_files",
    ),
    pytest.param(
      {"vggtf/images.py": "from vggtf.data import order\n"}
      | build_with('srcs = ["vggtf/images.py"]', 'srcs = ["vggtf/images.py"], deps = [":data"]'),
      "BUILD:1: a cycle: data -> images -> data",
      id="cycle_of_targets",
    ),
    pytest.param(
      {"vggtf/data/order.py": "from vggtf import errors, nothing\nimport vggtf.data.gone\n"},
      "vggtf/data/order.py:2: imports vggtf.data.gone, which no file defines",
      id="no_such_module",
    ),
  ],
)
def test_what_is_broken_is_named(tmp_path, changes, problem):
  problems = check(build_house(tmp_path, changes))
  assert problem in problems if problem else problems == []


def test_what_cannot_be_read_raises(tmp_path):
  house = build_house(tmp_path, build_with('["vggtf/images.py"]', "images()"))
  with pytest.raises(ValueError, match=r"BUILD:8: cannot evaluate images\(\)"):
    check(house)
