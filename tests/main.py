"""Runs pytest on the files named as arguments: what Bazel's py_test targets start."""

import sys

import pytest

if __name__ == "__main__":
  # The sandbox is read-only, so there is no place for a cache.
  sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
