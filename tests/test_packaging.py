"""What an installation promises: light imports, gin files inside the wheel, declared packages."""

from __future__ import annotations

import ast
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import vggtf

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("vggtf", "data_tools")
SOURCES = ("README.md", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "gin", *PACKAGES)

# The distribution of an imported module, where its name says something else.
DISTRIBUTIONS = {
  "absl": "absl-py",
  "apache_beam": "apache-beam",
  "gin": "gin-config",
  "google.protobuf": "protobuf",
  "google_crc32c": "google-crc32c",
  "PIL": "pillow",
  "sklearn": "scikit-learn",
  "tensorflow_addons": "tensorflow-addons",
  "tensorflow_serving": "tensorflow-serving-api",
  "tf_keras": "tf-keras",
}


def python(*code: str, cwd: pathlib.Path = ROOT) -> str:
  """Returns what the program prints."""
  done = subprocess.run(
    [sys.executable, "-c", "\n".join(code)], cwd=cwd, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.parametrize("module", ["vggtf", "vggtf.errors", "vggtf.contracts"])
def test_import_is_light(module):
  loaded = set(python(f"import {module}, sys", "print(*sys.modules)").split())
  assert not loaded & {"tensorflow", "numpy", "gin", "apache_beam"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, set[str]]:
  """Returns the file names in a wheel and an sdist; built from a copy, which setuptools litters."""
  folder = tmp_path_factory.mktemp("checkout")
  for name in SOURCES:
    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
    copy(ROOT / name, folder / name)
  python(
    "from setuptools import build_meta",
    "build_meta.build_sdist('dist')",
    "build_meta.build_wheel('dist')",
    cwd=folder,
  )
  (wheel,), (sdist,) = folder.glob("dist/*.whl"), folder.glob("dist/*.tar.gz")
  with tarfile.open(sdist) as archive:
    names = {member.name.partition("/")[2] for member in archive if member.isfile()}
  return {"wheel": set(zipfile.ZipFile(wheel).namelist()), "sdist": names}


def files(folder: str, pattern: str) -> set[str]:
  return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_wheel_holds_the_gin_files_inside_the_package(built):
  gin_files = files("gin", "*.gin")
  assert {f"vggtf/{name}" for name in gin_files} <= built["wheel"]
  tops = {name.partition("/")[0] for name in built["wheel"]}
  assert tops == {*PACKAGES, f"vggtf-{vggtf.__version__}.dist-info"}


def test_wheel_holds_every_module_and_the_reports_page(built):
  assert files("vggtf", "*.py") | files("data_tools", "*.py") <= built["wheel"]
  assert files("vggtf", "*.html") == {"vggtf/reports/page.html"} <= built["wheel"] & built["sdist"]


def test_sdist_can_be_built_from(built):
  assert {"setup.py", "pyproject.toml", "LICENSE"} | files("gin", "*.gin") <= built["sdist"]


def test_console_scripts_exist():
  text = (ROOT / "setup.py").read_text(encoding="utf-8")
  scripts = re.findall(r'"[\w-]+=([\w.]+):(\w+)"', text)
  assert len(scripts) == 5
  for module, function in scripts:
    path = ROOT / f"{module.replace('.', '/')}.py"
    defined = {getattr(node, "name", None) for node in ast.parse(path.read_text("utf-8")).body}
    assert function in defined, f"{path.relative_to(ROOT)} has no {function}()"


def test_no_python_in_the_gin_folder():
  assert not files("gin", "*.py"), "it would shadow the gin library"


def declared() -> tuple[set[str], set[str]]:
  """Returns the distributions that setup.py names: (core, extras)."""
  tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
  lists = {
    node.targets[0].id: node.value
    for node in tree.body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
  }

  def names(node: ast.expr) -> set[str]:
    values = node.values if isinstance(node, ast.Dict) else [node]
    texts = [item.value for value in values for item in value.elts]
    return {re.match(r"[\w.-]+", text)[0] for text in texts}

  return names(lists["CORE"]), names(lists["EXTRAS"])


def imported() -> dict[str, str]:
  """Returns where each third-party distribution is imported first: {distribution: file:line}."""
  found: dict[str, str] = {}
  for name in sorted(path for package in PACKAGES for path in files(package, "*.py")):
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
      if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and not node.level:
        modules = [node.module]
      else:
        continue
      for module in modules:
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top in PACKAGES:
          continue
        # `google` is many distributions' folder.
        known = [key for key in DISTRIBUTIONS if f"{module}.".startswith(f"{key}.")]
        found.setdefault(DISTRIBUTIONS[known[0]] if known else top, f"{name}:{node.lineno}")
  return found


def test_what_is_imported_is_declared():
  core, extras = declared()
  missing = {name: where for name, where in imported().items() if name not in core | extras}
  assert not missing, "declare in setup.py, or add the import's name to DISTRIBUTIONS"


def test_what_the_core_declares_is_imported():
  unused = declared()[0] - imported().keys()
  assert not unused, "remove from CORE in setup.py"


def test_constraints_pin_what_is_declared():
  text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
  pinned = set(re.findall(r"^([\w.-]+)==", text, re.M))
  core, extras = declared()
  assert core | extras <= pinned
