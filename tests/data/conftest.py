"""One small converted data set for all, and a copy of it for those who damage it."""

import pathlib
import shutil

import pytest

from tests import samples


@pytest.fixture(scope="session")
def data_set(tmp_path_factory) -> str:
  return samples.digits_like(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture
def damaged(data_set, tmp_path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(data_set, tmp_path / "set"))
