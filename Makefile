# make demo   from a bare clone to a trained classifier and its honest test result
# make test   ruff, mypy, the documentation and the whole test suite
# make docs   the documentation in site/; open site/index.html
# make dist   wheels and source archive in dist/; make check-dist uses them in fresh environments
# All make .venv themselves and are quick when repeated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

TESTS := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo test coverage lint docs data dist check-dist clean

demo: $(VENV)/.runtime data
	$(BIN)/frostline train fashion-mnist

# Three workers, since on two cores two of them wait a third of the time: for the disk, for servers, for clocks that
# tests ask. One thread each: threads that share a core spin. Bytecode is kept even where the environment says no: else
# each process that a test starts compiles the package anew.
test: $(VENV)/.dev data lint docs
	$(TESTS)

# The same with coverage, of the processes that tests start as well; it takes a third longer.
coverage: $(VENV)/.dev data
	$(TESTS) --cov=frostline --cov-report=term --cov-fail-under=90

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Strict: dead links and missing pages are errors (not with --quiet, which hides warnings from the strict build, too). The
# variable switches off a notice about the future of mkdocs.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Debian's package where apt-get can be used; else Frostline downloads the files when it first needs them.
data:
	@test -d /usr/share/datasets/fashion-mnist || scripts/apt-install dataset-fashion-mnist \
	  || echo "no Debian package of Fashion-MNIST here: Frostline will download it"

# frostline (wheel and source archive), and frostline-runtime, a wheel of the same package without torch.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m hatchling build --directory dist
	cd runtime && ../$(BIN)/python -m hatchling build --target wheel --directory ../dist

check-dist: dist
	PYTHON=$(PYTHON) scripts/check-dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { scripts/apt-install python3-venv && $(PYTHON) -m venv --clear $(VENV); }

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[export]'
	touch $@

# torchvision asks for torch's CUDA build; the tests get on without (tests/torchvision_operators).
# The tests open pages in Debian's chromium.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@command -v chromium >/dev/null || scripts/apt-install chromium
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps torchvision timm
	touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
