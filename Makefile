# Two commands do everything on a fresh machine: `make demo` speaks, `make test` proves it.
# The environment is .venv; a CPU build of torch is preferred where no GPU is found.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo serve test test-browser test-clients test-long lint types check clean setup

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

test-long: .venv/.complete  # minutes: ten thousand interleavings, and the like
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m long

test-browser: .venv/.complete  # needs a Chromium: apt-get install chromium (and hears firefox-esr with pulseaudio)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m browser tests/client/web

.venv-clients/.complete: tests/clients/requirements.txt
	@echo "installing other people's clients (about 800 MB) ..."
	@$(PYTHON) -m venv .venv-clients && .venv-clients/bin/python -m pip -q install -r tests/clients/requirements.txt
	@touch $@

test-clients: .venv/.complete .venv-clients/.complete
	@$(BIN)/python -m pytest -q -m clients tests/clients/test_wyoming_client.py
	@STREAM_SERVER_PYTHON=$(BIN)/python .venv-clients/bin/python -m pytest -q -m clients -W default \
		--confcutdir tests/clients --ignore tests/clients/test_wyoming_client.py tests/clients

lint: .venv/.complete
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .

types: .venv/.complete
	@$(BIN)/mypy

clean:
	rm -rf .venv .venv-clients .mypy_cache .ruff_cache .pytest_cache
