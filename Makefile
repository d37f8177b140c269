# make demo and make test need Python >= 3.11 and make, nothing else. Everything else is here too.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
SEEDS  ?= 500
CORE_SEEDS ?= 4000
EXCHANGE_SEEDS ?= 300
KILLS  ?= 140

.PHONY: demo test check bench prove judges browser lock clean

demo: $(VENV)/.default
	@$(BIN)/trading demo

test: $(VENV)/.dev judges browser
	@$(BIN)/pytest -n 3 --dist loadfile -m "not prove"

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest tests/test_tidy.py
	@$(BIN)/pytest tests/core tests/domain src/trading_system/domain --cov=trading_system.core --cov=trading_system.domain --cov-branch --cov-fail-under=100 --cov-report=term:skip-covered

prove: $(VENV)/.dev judges
	@$(BIN)/pytest -n 2 --dist loadfile -m prove
	@$(BIN)/python -m tests.simulation.prove --core-seeds $(CORE_SEEDS) --seeds $(SEEDS) --exchange-seeds $(EXCHANGE_SEEDS)
	@$(BIN)/python -m tests.journal.prove
	@$(BIN)/python -m tests.recovery.prove --kills $(KILLS)

bench: $(VENV)/.dev judges .venv-peers/.done .venv-backtesters/.done
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.streams
	@$(BIN)/python -m bench.backtest
	@$(BIN)/python -m bench.plan

# The brokers' own SDKs live apart from ours: they are judges, not dependencies.
judges: .venv-judges/.done

.venv-judges/.done: requirements/judges.txt
	@echo "Installing the brokers' own SDKs into .venv-judges …"
	@$(PYTHON) -m venv .venv-judges
	@.venv-judges/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/judges.txt
	@touch $@

# A Chromium for the tests of the page, where there is a node to fetch it with; without one they are skipped, and say so.
browser: .browser/.done

.browser/.done: requirements/browser/package-lock.json
	@mkdir -p .browser && cp requirements/browser/* .browser/
	@if command -v npm >/dev/null; then echo "Fetching Chromium into .browser …"; \
	  (cd .browser && npm ci --silent --no-audit --no-fund && TMPDIR=$$PWD node unpack.mjs >/dev/null && rm -rf node_modules) || echo "no Chromium: the page is not tested here"; \
	else echo "no npm here: the page is not tested in a browser"; fi
	@touch $@

# Other projects that the benchmark compares with.
.venv-peers/.done: requirements/peers.txt
	@echo "Installing the benchmark's peers into .venv-peers …"
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/peers.txt
	@touch $@

.venv-backtesters/.done: requirements/backtesters.txt
	@echo "Installing other backtesters into .venv-backtesters …"
	@$(PYTHON) -m venv .venv-backtesters
	@.venv-backtesters/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/backtesters.txt
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "trading_system needs Python 3.11 or newer: make PYTHON=python3.13 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.default: requirements/default.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (locked, with hashes) …"
	@$(PIP) install --require-hashes -r requirements/default.txt
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.default
	@echo "Installing what tests and checks need …"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# Needs uv on the path.
lock:
	@requirements/lock.sh

clean:
	rm -rf .venv .venv-judges .venv-peers .venv-backtesters .browser .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
