# CPython 3.11 and make are all that a machine needs; everything else goes into .venv.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
RUN := TF_CPP_MIN_LOG_LEVEL=2 $(VENV)/bin/python -m
QUICKSTART := build/quickstart
DATAFLOW := build/dataflow

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-slow test-dataflow lint bench clean

help: ## Show these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY) ## Make .venv with the tested set of packages

# The stamp comes last, so an environment that was left half-made is made anew.
$(READY): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "$(PYTHON) is not CPython 3.11; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@rm -f $@
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e '.[demo,dev]'
	@touch $@

quickstart: $(READY) ## Digits, from pictures to predictions, in minutes on a CPU
	rm -rf $(QUICKSTART)
	$(RUN) data_tools.digits --output=$(QUICKSTART)/images
	$(RUN) data_tools.convert --source=folder --input=$(QUICKSTART)/images \
	  --output=$(QUICKSTART)/records --scales=32,40,48 --shards=train=4,validation=2
	$(RUN) vggtf.main --gin_file=gin/quickstart.gin --data_dir=$(QUICKSTART)/records \
	  --workdir=$(QUICKSTART)/run
	$(RUN) vggtf.main --job=evaluate --workdir=$(QUICKSTART)/run
	$(RUN) vggtf.main --job=export --workdir=$(QUICKSTART)/run
	@# The picture's name is known only now, so this line is echoed by hand.
	@picture=$$(find $(QUICKSTART)/images/validation -type f | LC_ALL=C sort | head -n 1); set -x; \
	  $(RUN) vggtf.main --job=predict --workdir=$(QUICKSTART)/run "$$picture"
	$(RUN) vggtf.main --job=summary --workdir=$(QUICKSTART)/run

# A file's tests stay together, for its fixtures' sake.
test: $(READY) ## Run the tests that need no data, no accelerator and no network
	$(RUN) pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: $(READY) ## Run the tests that take minutes or gigabytes
	$(RUN) pytest -m slow

# No TensorFlow here: what Dataflow's workers get has none either.
test-dataflow: $(DATAFLOW)/.ready ## Translate the conversion for Dataflow, without an account
	$(DATAFLOW)/bin/python -m pytest tests/data_tools/test_dataflow.py

$(DATAFLOW)/.ready: setup.py constraints.txt
	@rm -f $@
	$(PYTHON) -m venv --clear $(DATAFLOW)
	$(DATAFLOW)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt 'apache-beam[gcp]~=2.77.0' build defusedxml google-crc32c numpy pillow \
	  protobuf pytest pytest-timeout rich scipy setuptools simplejpeg
	@touch $@

lint: $(READY) ## Check style and layout
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: $(READY) ## Time the parts beside their peers; prints a table
	$(RUN) benchmarks.run

clean: ## Remove what was built, the environment included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
