# Bestex. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help demo serve cluster test sim chaos check format bench clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp per kind of installation, so that `make demo` does not wait for test tools.
$(VENV)/run.stamp: pyproject.toml
	@if command -v uv >/dev/null 2>&1; then uv venv -q --allow-existing --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV) || { echo "no virtual environment: on Debian, apt-get install python3-venv"; exit 1; }; fi
	@echo "installing bestex into $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then uv pip install -q --python $(BIN)/python -e .; \
	else $(BIN)/python -m pip install -q --disable-pip-version-check -e .; fi
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "installing the test tools ..."
	@if command -v uv >/dev/null 2>&1; then uv pip install -q --python $(BIN)/python -e '.[dev]'; \
	else $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'; fi
	@touch $@

demo: $(VENV)/run.stamp ## ten orders on a paper market, live in this terminal (ARGS=--exit ends after the summary)
	@$(BIN)/bestex demo $(ARGS)

serve: $(VENV)/run.stamp ## the server on SQLite and the paper cluster
	@$(BIN)/bestex serve $(ARGS)

cluster: $(VENV)/dev.stamp ## PostgreSQL, Redis, a paper cluster, 2 API nodes, 2 workers on this machine (ARGS='--workers 4 --fresh')
	@$(BIN)/python -m deploy.local $(ARGS)

test: check ## all tests and checks
	$(BIN)/pytest -n auto $(ARGS)

sim: $(VENV)/run.stamp ## about a minute of simulated worlds: crashes, forks, power cuts (ARGS='--seeds 0:10000')
	@$(BIN)/bestex sim --seeds 0:400 $(ARGS)

chaos: $(VENV)/dev.stamp ## a deployment under kills, freezes and cut wires, then every check (ARGS='--seconds 120 --seed 7')
	@$(BIN)/python -m tests.crash.chaos $(ARGS)

check: $(VENV)/dev.stamp ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp ## every figure of the README (ARGS=orders or ARGS=quotes for one)
	@$(BIN)/python -m bench $(ARGS)

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
