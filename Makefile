# tclr: run 'make' for the list of targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-out

# make <dataset>-features <DATASET>_ROOT=... OUT=... [WORKERS=...] [ENCODER=...] [PREPROCESS_FLAGS=...] [PRETRAIN_FLAGS=...]
OUT ?= features-out
LABELS ?= yes
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
ENCODER ?= $(OUT)/run
PREPROCESS_FLAGS ?=
PRETRAIN_FLAGS ?=
VARIANTS ?= all
FAULTS_FLAGS ?=
BOX_FLAGS ?=
EVIDENCE_FLAGS ?=
SIGHT_FLAGS ?=
TEST_PROCESSES ?= 2
FUZZ_EXAMPLES ?= 5000
SEEDS ?= 3
CLASSES ?=
CROP_SIZE ?= 96
ABLATION_FLAGS ?= --image-size 64 --crop-ratio 0.72 --batch-size 24 --anchors-per-clip 8 --epochs 4 --val-share 0.05 --precision bf16

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow fuzz lint docs house bench faults ablation box sight evidence bp4d-features disfa-features emotionet-features voxceleb2-features features clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-19s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Create .venv and install tclr in it, with the pinned versions

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install ## Show what the bundled models see in moving faces: AU columns, a picture, a report
	$(BIN)/tclr demo $(DEMO)

test: install ## Run the test suite, in 2 processes; TEST_PROCESSES=8 if there are cores
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: install ## Run the tests that take long: killed runs, several processes, whole recipes
	$(BIN)/python -m pytest -m slow

fuzz: install ## Read some thousand files that are nearly valid, ever new ones: [FUZZ_EXAMPLES=5000] for each kind
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/fuzz --hypothesis-profile long

lint: install ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed
	mkdir -p build/typed/tclr
	for path in api/*.py api/*.pyi schemas pipeline cli; do ln -sfn $(CURDIR)/$$path build/typed/tclr/; done
	cd build/typed && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p tclr
	cd build/typed && MYPYPATH=$(CURDIR)/docs/site $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml $(CURDIR)/docs/site/*.py

docs: install ## Build the documentation site in build/docs
	rm -rf build/docs
	$(BIN)/python docs/site/build.py build/docs
	@echo "Documentation: build/docs/index.html"

house: install ## Draw the rooms of the code, in docs/images/house.svg
	$(BIN)/python docs/site/house.py docs/images/house.svg

bench: install ## Measure the stages, as ratios within one run; the table is kept in build/bench.md and build/bench.json
	mkdir -p build
	$(BIN)/tclr bench -o build/bench.json --markdown build/bench.md

faults: install ## Break runs of preprocess and embed in twelve ways, over a hundred times, and compare what is left: over an hour
	$(BIN)/python tests/faults/campaign.py $(FAULTS_FLAGS)

ablation: install ## What each part of pretraining is worth: PEOPLE=videos PROBE=labelled OUT=... [CLASSES=stills] [VARIANTS=all] [SEEDS=3]
	@test -n "$(PEOPLE)" -a -n "$(PROBE)" || { echo "Expected PEOPLE=<folder> PROBE=<folder>. Example: make ablation PEOPLE=/data/people PROBE=/data/BP4D OUT=out"; exit 2; }
	$(BIN)/tclr preprocess "$(PEOPLE)" "$(OUT)/people" --workers $(WORKERS) --size $(CROP_SIZE) --codec lz4
	$(BIN)/tclr preprocess "$(PROBE)" "$(OUT)/probe" --workers $(WORKERS) --size $(CROP_SIZE) --codec lz4
	$(if $(CLASSES),$(BIN)/tclr preprocess "$(CLASSES)" "$(OUT)/classes" --workers $(WORKERS) --size $(CROP_SIZE) --codec lz4)
	$(BIN)/tclr ablate "$(OUT)/people" "$(OUT)/probe" "$(OUT)/ablation" --variants "$(VARIANTS)" --seeds $(SEEDS) \
	  $(if $(CLASSES),--classes "$(OUT)/classes") $(ABLATION_FLAGS)

box: install ## Make the bundled models: PEOPLE=videos with AU intensities OUT=... [BOX_FLAGS="--seeds 3"]; half an hour to an hour and a half on 2 cores
	@test -n "$(PEOPLE)" || { echo "Expected PEOPLE=<folder>. Example: make box PEOPLE=/data/people OUT=box-out"; exit 2; }
	$(BIN)/tclr box "$(PEOPLE)" "$(OUT)" --workers $(WORKERS) $(BOX_FLAGS)

sight: install ## Make the bundled judge of hidden regions: PEOPLE=videos of faces OUT=... [SIGHT_FLAGS="--epochs 12"]; half an hour
	@test -n "$(PEOPLE)" || { echo "Expected PEOPLE=<folder>. Example: make sight PEOPLE=/data/people OUT=sight-out"; exit 2; }
	$(BIN)/tclr sight "$(PEOPLE)" "$(OUT)" --workers $(WORKERS) $(SIGHT_FLAGS)

evidence: install ## Judge the bundled models: OUT=... and any of EMOTIONS=, PORTRAITS=, PEOPLE=<folder> [EVIDENCE_FLAGS="--qualities none"]
	@test -n "$(EMOTIONS)$(PORTRAITS)$(PEOPLE)" || { echo "Expected EMOTIONS=, PORTRAITS= or PEOPLE=<folder>. Example: make evidence PORTRAITS=/data/portraits OUT=evidence-out"; exit 2; }
	$(BIN)/tclr evidence "$(OUT)" --workers $(WORKERS) $(if $(EMOTIONS),--emotions "$(EMOTIONS)") \
	  $(if $(PORTRAITS),--portraits "$(PORTRAITS)") $(if $(PEOPLE),--people "$(PEOPLE)") $(EVIDENCE_FLAGS)

bp4d-features: ## BP4D to Parquet: make bp4d-features BP4D_ROOT=... OUT=...
	@$(MAKE) --no-print-directory features DATASET=bp4d SOURCE="$(BP4D_ROOT)" ROOT_NAME=BP4D_ROOT OUT="$(OUT)"

disfa-features: ## DISFA to Parquet: make disfa-features DISFA_ROOT=... OUT=...
	@$(MAKE) --no-print-directory features DATASET=disfa SOURCE="$(DISFA_ROOT)" ROOT_NAME=DISFA_ROOT OUT="$(OUT)"

emotionet-features: ## EmotioNet (stills, so a given ENCODER) to Parquet: EMOTIONET_ROOT=... OUT=... ENCODER=...
	@$(MAKE) --no-print-directory features DATASET=emotionet SOURCE="$(EMOTIONET_ROOT)" ROOT_NAME=EMOTIONET_ROOT \
	  OUT="$(OUT)" ENCODER="$(or $(filter-out $(OUT)/run,$(ENCODER)),random)"

voxceleb2-features: ## VoxCeleb2 (no labels; AUs of the bundled model) to Parquet: VOXCELEB2_ROOT=... OUT=...
	@$(MAKE) --no-print-directory features DATASET=voxceleb2 SOURCE="$(VOXCELEB2_ROOT)" ROOT_NAME=VOXCELEB2_ROOT \
	  OUT="$(OUT)" LABELS=no PREPROCESS_FLAGS="--codec jpeg $(PREPROCESS_FLAGS)"

features: install
	@test -n "$(SOURCE)" || { echo "Expected $(ROOT_NAME)=<folder>, but got none. Example: make $(DATASET)-features $(ROOT_NAME)=/data/$(DATASET) OUT=out"; exit 2; }
	$(BIN)/tclr preprocess "$(SOURCE)" "$(OUT)/store" --dataset $(DATASET) --workers $(WORKERS) $(PREPROCESS_FLAGS)
	if [ "$(ENCODER)" = "$(OUT)/run" ]; then $(BIN)/tclr pretrain "$(OUT)/store" "$(OUT)/run" $(PRETRAIN_FLAGS); fi
	if [ "$(LABELS)" = yes ]; then $(BIN)/tclr fit-au "$(OUT)/store" --encoder "$(ENCODER)" -o "$(OUT)/au.safetensors"; fi
	$(BIN)/tclr embed "$(OUT)/store" "$(OUT)/features" --encoder "$(ENCODER)" --replace \
	  $$(test "$(LABELS)" = yes && echo --au-model "$(OUT)/au.safetensors")
	$(BIN)/tclr report "$(OUT)/store" -o "$(OUT)/report.html" --features "$(OUT)/features" \
	  $$(test -d "$(OUT)/run" && echo --run "$(OUT)/run")
	@echo "Features: $(OUT)/features    Report: $(OUT)/report.html"

clean: ## Delete .venv, caches and demo output
	rm -rf $(VENV) build $(DEMO) .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
