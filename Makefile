# `make demo` and `make test` set up what they need in .venv: with uv where it is installed, else
# with venv and pip from the hashed lock files. README spells out the same commands.
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test test-all check docs docs-serve lock clean

demo: .venv/.runtime
	$(BIN)/neoteny run spectral-collapse-digits --out demo

test: .venv/.dev
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: .venv/.dev
	$(BIN)/python -m pytest -n auto --dist loadfile -m ""

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

docs-serve: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

ifdef UV
.venv/.runtime: uv.lock pyproject.toml
	$(UV) sync --frozen --no-dev --inexact --python $(PYTHON)
	touch $@

.venv/.dev: uv.lock pyproject.toml
	$(UV) sync --frozen --python $(PYTHON)
	touch $@ .venv/.runtime
else
.venv/.runtime: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@
endif

# Only for who changes dependencies: refresh uv.lock and the hashed files made from it.
lock:
	$(UV) lock
	$(UV) export --frozen --quiet --no-emit-project --no-annotate --no-default-groups --group build -o requirements.lock
	$(UV) export --frozen --quiet --no-emit-project --no-annotate --all-groups -o requirements-dev.lock

clean:
	rm -rf .venv demo dist build site
