# Two commands for a newcomer: `make demo` and `make test`. Both make .venv first and need only Python 3.11 and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo docs test test-models test-extras soak lint clean

demo: $(VENV)/.run-ready
	$(BIN)/my3dis demo --output my3dis-demo

# The pictures of the site are made by running the built-in scan, in build/docs.
docs: $(VENV)/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean
	@echo "$(CURDIR)/site/index.html"

test: $(VENV)/.test-ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-models: $(VENV)/.models-ready
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'models and not soak'

test-extras: $(VENV)/.extras-ready
	$(BIN)/python -m pytest -n 2 --dist worksteal --timeout-method=thread -m 'extras and not soak'

soak: $(VENV)/.test-ready
	$(BIN)/python -m pytest -m soak --timeout=7200

lint: $(VENV)/.test-ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "My3DIS needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	touch $@ $(VENV)/.run-ready

$(VENV)/.docs-ready: $(VENV)/.run-ready
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	touch $@

# torch first and by its exact version: what the extras alone would pull in may be a build for GPUs.
$(VENV)/.models-ready: $(VENV)/.test-ready
	$(BIN)/pip install -q 'torch==2.13.0'
	$(BIN)/pip install -q -c constraints.txt -e '.[models,test]'
	touch $@

$(VENV)/.extras-ready: $(VENV)/.test-ready
	$(BIN)/pip install -q -c constraints.txt -e '.[test,test-extras]'
	touch $@

clean:
	rm -rf $(VENV) my3dis-demo site build/docs .pytest_cache .mypy_cache .ruff_cache
