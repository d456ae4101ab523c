# Two commands do everything on a fresh machine: `make demo` speaks, `make test` proves it.
# The environment is .venv; a CPU build of torch is preferred where no GPU is found.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo serve test test-browser lint types check clean setup

setup: .venv/.complete

.venv/.complete: pyproject.toml setup.sh
	@PYTHON=$(PYTHON) sh setup.sh

demo: .venv/.complete
	@$(BIN)/python client/demo.py

serve: .venv/.complete
	@$(BIN)/stream-server serve

test: .venv/.complete
	@$(MAKE) --no-print-directory lint types
	@OMP_NUM_THREADS=1 PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest -q

test-browser: .venv/.complete  # needs a Chromium: apt-get install chromium
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m browser tests/client/web

lint: .venv/.complete
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .

types: .venv/.complete
	@$(BIN)/mypy

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
