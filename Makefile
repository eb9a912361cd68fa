# `make demo` and `make test` each work as the first command of a fresh clone: Python 3.11+, git and make.
PYTHON ?= python3
UV_VERSION := 0.13.8

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(BIN)/uv
INTO := --python $(BIN)/python

# Everything that could send an installation somewhere other than .venv. Indexes, proxies,
# certificates and caches of the caller are left as they are.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONHOME PYTHONPATH
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_BREAK_SYSTEM_PACKAGES UV_PROJECT_ENVIRONMENT UV_PROJECT UV_WORKING_DIRECTORY
unexport UV_REQUIRE_HASHES UV_NO_BUILD UV_NO_BINARY UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE UV_RESOLUTION UV_PRERELEASE
unexport UV_NO_DEPS UV_NO_EDITABLE UV_NO_VERIFY_HASHES UV_TARGET UV_PREFIX
# A fresh .venv holds no bytecode: where it may not be written either, each process compiles all it imports again.
unexport PYTHONDONTWRITEBYTECODE
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_REQUIRE_HASHES

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lab bench-data bench-engine bench-research bench-report bench-crowd bench-fetch mutants lock wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## create .venv with every locked dependency and this project, editable

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "unwind needs Python 3.11 or newer, and '$(PYTHON)' is older or missing: try make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "no virtual environment could be made: install the venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(UV) --version 2>/dev/null | grep -qF ' $(UV_VERSION)' || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) pip install --quiet $(INTO) --require-hashes -r requirements.lock || \
		{ echo "uv could not install the lock; trying pip, which is slower" >&2; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }
	$(UV) pip install --quiet $(INTO) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the shortest way to a result: seeded data, no network, no keys
	$(BIN)/unwind demo

test: setup ## the tests, on up to four cores
	$(BIN)/python -m pytest tests -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: setup ## the gate: lint, format, types, import directions, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

lab: setup ## JupyterLab on the notebooks, made in unwind-notebooks/
	$(BIN)/unwind lab

bench-data: setup ## measure the store (minutes)
	$(BIN)/python benchmarks/bench_data.py

bench-engine: setup ## measure the engine (minutes)
	$(BIN)/python benchmarks/bench_engine.py

bench-research: setup ## measure sweeps, walk-forward and executors (minutes)
	$(BIN)/python benchmarks/bench_research.py

bench-report: setup ## measure size and speed of the report (a minute)
	$(BIN)/python benchmarks/bench_report.py

bench-crowd: setup ## judge the simulated market on unseen seeds (minutes)
	$(BIN)/python benchmarks/simulated_market.py

bench-fetch: setup ## fetch 8.6 million bars from a loopback server (minutes)
	$(BIN)/python benchmarks/fetch_soak.py

mutants: setup ## break the engine on purpose and see each break caught
	$(BIN)/python tests/mutants/mutants.py

lock: ## resolve requirements.lock again from pyproject.toml
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--output-file requirements.lock pyproject.toml

wheel: setup ## build dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build --no-isolation

clean: ## remove .venv, caches and build outputs
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks
	find backtest data strategies tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
