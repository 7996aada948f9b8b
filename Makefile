# `make demo` and `make test` on a fresh clone do everything; PYTHON chooses the interpreter of the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: demo test test-slow test-node check names format docs bench verifiers clean

demo: $(STAMP)
	$(BIN)/loratory run risk-triage

test: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal

test-slow: $(STAMP)
	$(BIN)/pytest -m slow -rs

test-node: $(STAMP) # exports opened by transformers.js and llama.cpp; these tests skip where their packages are missing
	npm install --ignore-scripts --no-package-lock --no-audit --no-fund --prefix tests/node
	$(BIN)/pytest -rs tests/parity/test_export_transformers_js.py tests/parity/test_export_gguf.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(MAKE) names

names: $(STAMP)
	$(BIN)/python tools/check_names.py
	$(BIN)/python tools/check_types.py --any 0.02 --docstrings 0.95

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_STAMP)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the documentation is in site/index.html"

bench: $(STAMP)
	$(BIN)/python benchmarks/ladder.py

# The certificate of an export, recomputed in Go and in JavaScript: EXPORT names folders; without one a small fit is
# exported. What this machine lacks is named and skipped.
verifiers: $(STAMP)
	verifiers/build.sh
	$(BIN)/python verifiers/run.py $(EXPORT)

clean:
	rm -rf runs .loratory dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis verifiers/go/verify \
		verifiers/js/node_modules

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[all,dev]"
	touch $(STAMP)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $(DOCS_STAMP)
