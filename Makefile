# tclr: run 'make' for the list of targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-out

# make bp4d-features BP4D_ROOT=... OUT=... [WORKERS=...] [ENCODER=...] [PREPROCESS_FLAGS=...] [PRETRAIN_FLAGS=...]
OUT ?= bp4d-out
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
ENCODER ?= $(OUT)/run
PREPROCESS_FLAGS ?=
PRETRAIN_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench bp4d-features clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Create .venv and install tclr in it, with the pinned versions

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install ## Run every stage on demo clips made here, and show the features
	$(BIN)/tclr demo $(DEMO)

test: install ## Run the test suite
	$(BIN)/python -m pytest

lint: install ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typed/tclr
	for room in schemas pipeline cli; do ln -sfn $(CURDIR)/$$room build/typed/tclr/$$room; done
	cd build/typed && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p tclr

bench: install ## Measure the stages, as ratios within one run
	$(BIN)/tclr bench

bp4d-features: install ## BP4D to Parquet: make bp4d-features BP4D_ROOT=... OUT=...
	@test -n "$(BP4D_ROOT)" || { echo "Expected BP4D_ROOT=<folder of BP4D>, but got none. Example: make bp4d-features BP4D_ROOT=/data/BP4D OUT=bp4d-out"; exit 2; }
	$(BIN)/tclr preprocess "$(BP4D_ROOT)" "$(OUT)/store" --dataset bp4d --workers $(WORKERS) $(PREPROCESS_FLAGS)
	if [ "$(ENCODER)" = "$(OUT)/run" ]; then $(BIN)/tclr pretrain "$(OUT)/store" "$(OUT)/run" $(PRETRAIN_FLAGS); fi
	$(BIN)/tclr fit-au "$(OUT)/store" --encoder "$(ENCODER)" -o "$(OUT)/au.safetensors"
	$(BIN)/tclr embed "$(OUT)/store" "$(OUT)/features" --encoder "$(ENCODER)" --au-model "$(OUT)/au.safetensors"
	$(BIN)/tclr report "$(OUT)/store" -o "$(OUT)/report.html" --features "$(OUT)/features" $$(test -d "$(OUT)/run" && echo --run "$(OUT)/run")
	@echo "Features: $(OUT)/features    Report: $(OUT)/report.html"

clean: ## Delete .venv, caches and demo output
	rm -rf $(VENV) build $(DEMO) .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
