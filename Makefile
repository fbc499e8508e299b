# `make help` prints the commented targets.
SCALE ?= micro
SEEDS ?=
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PEERS = tests/peers/.venv
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
.DEFAULT_GOAL := help
.PHONY: help reproduce test lab plan accept notebook bench peers check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch first and by its exact version: a plain `pip install` would fetch the newest build for another CUDA.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[pinned,test,onnx]'
	@touch $@

reproduce: $(VENV)/installed  ## every notebook at SCALE=micro, then the scorecard; SEEDS=3 for seeds with spread
	$(BIN)/python -m robust_lib reproduce --scale $(SCALE) $(if $(SEEDS),--seeds $(SEEDS))

test: $(VENV)/installed  ## the whole test suite; ROBUST_DATA=DIR adds the tests on real data
	$(BIN)/python -m pytest -q

lab: $(VENV)/installed  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

accept: $(VENV)/installed  ## copy the tables and figures of SCALE to figures/, which is committed
	$(BIN)/python -m robust_lib accept --scale $(SCALE)

plan: $(VENV)/installed  ## what SCALE=paper would cost, without running anything
	$(BIN)/python -m robust_lib plan --scale $(SCALE)

notebook: $(VENV)/installed  ## one notebook: NB=01_robustness_study SCALE=colab ARGS='-p train_size 2000'
	$(BIN)/python -m robust_lib notebook $(NB) --scale $(SCALE) $(ARGS)

bench: $(VENV)/installed  ## speed and memory, as ratios measured interleaved
	@for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

# TextAttack's own requirements do not resolve: everything but torch is pinned, and installed as listed.
$(PEERS)/installed: tests/peers/requirements.txt
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet torch==2.13.0
	$(PEERS)/bin/python -m pip install --quiet --no-deps -r $<
	@touch $@

peers: $(PEERS)/installed  ## TextAttack, the oracle of tests/test_peers.py, in an environment of its own (2 GB)

check: $(VENV)/installed  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:  ## runs/ and caches (the store too); the environment stays
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
