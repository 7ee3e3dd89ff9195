"""The image of remote workers holds the packages that their modules import, and no others."""

import ast
import json
import re
import subprocess
import sys

import pytest

# As a worker: unpickles the pipeline and its source, and starts the process that decodes.
WORKER = """
import importlib, json, sys
for name in ("pipeline", "decoder_process", *json.loads(sys.argv[1])):
  importlib.import_module(f"data_tools.{name}")
ours = ("data_tools", "vggtf")
print(json.dumps({n: m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ours}))
"""
SOURCES = ["sources.imagenet", "sources.folder", "sources.voc", "sources.caltech"]
PACKAGES = {"PIL": "pillow", "google_crc32c": "google-crc32c", "google": "protobuf"}


@pytest.fixture(scope="module")
def dockerfile(repository):
  return (repository / "deploy" / "dataflow" / "Dockerfile").read_text()


def test_image_holds_what_workers_import(dockerfile, repository):
  done = subprocess.run(
    [sys.executable, "-c", WORKER, json.dumps(SOURCES)],
    cwd=repository,
    check=True,
    capture_output=True,
    text=True,
  )
  modules = json.loads(done.stdout)
  assert {"data_tools.conversion", "data_tools.pixels", "vggtf.schema"} <= set(modules)
  # scipy reads the devkit, where the job is started.
  imported = {name for path in modules.values() for name in _find_imports(path)}
  foreign = imported - sys.stdlib_module_names - {"data_tools", "vggtf", "apache_beam", "scipy"}
  (listed,) = re.findall(r"constraints\.txt \\\n +(.+) \\\n", dockerfile)
  assert sorted(PACKAGES.get(name, name) for name in foreign) == sorted(listed.split())


def test_image_has_the_tested_beam(dockerfile, repository):
  (version,) = re.findall(r"^FROM apache/beam_python3\.11_sdk:(.+)$", dockerfile, re.M)
  assert f"apache-beam=={version} " in (repository / "constraints.txt").read_text()


def test_image_gets_what_setup_reads(dockerfile, repository):
  copied = " ".join(re.findall(r"^COPY (.+) \S+$", dockerfile, re.M)).split()
  assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "gin"} <= set(copied)
  assert all((repository / name).exists() for name in copied)


def _find_imports(path):
  with open(path, encoding="utf-8") as file:
    tree = ast.parse(file.read())
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
      yield node.module.partition(".")[0]
