# `make help` prints the commented targets.
SCALE ?= micro
SEEDS ?=
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PEERS = tests/peers/.venv
AUDIT = $(VENV)/audit
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
.DEFAULT_GOAL := help
.PHONY: help reproduce matrix test lab browser plan doctor accept notebook site bench peers lock vulnerabilities sbom check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch first and by its exact version: a plain `pip install` would fetch the newest build for another CUDA.
$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint requirements.lock -e '.[pinned,test,onnx,browser,ray,site]'
	@touch $@

reproduce: $(VENV)/installed  ## every notebook at SCALE=micro, then the scorecard; SEEDS=3 for seeds with spread
	$(BIN)/python -m robust_lib reproduce --scale $(SCALE) $(if $(SEEDS),--seeds $(SEEDS))

matrix: $(VENV)/installed  ## every method by every measure, SEEDS=3 unless given: an hour or two; goes on where it stopped
	$(BIN)/python -m robust_lib reproduce --notebooks 08_matrix --seeds $(or $(SEEDS),3)

test: $(VENV)/installed  ## the whole test suite; ROBUST_DATA=DIR adds the tests on real data
	$(BIN)/python -m pytest -q --numprocesses auto --dist loadgroup

lab: $(VENV)/installed  ## JupyterLab on the notebooks, which open from their .py
	$(BIN)/jupytext-config --settings-file $(VENV)/etc/jupyter/labconfig/default_setting_overrides.json \
	  set-default-viewer python
	$(BIN)/jupyter lab notebooks

browser: $(VENV)/installed  ## every notebook in JupyterLab in a headless Chromium; screenshots in runs/browser
	ROBUST_BROWSER=all $(BIN)/python -m pytest -q tests/test_lab.py

accept: $(VENV)/installed  ## copy the tables and figures of SCALE to figures/, which is committed
	$(BIN)/python -m robust_lib accept --scale $(SCALE)

plan: $(VENV)/installed  ## what SCALE=paper would cost, without running anything; GPUS="1 8 64" for so many GPUs
	$(BIN)/python -m robust_lib plan --scale $(SCALE) $(if $(GPUS),--gpus $(GPUS))

doctor: $(VENV)/installed  ## whether this machine can run SCALE, and what to do about each gap
	$(BIN)/python -m robust_lib doctor --scale $(SCALE)

notebook: $(VENV)/installed  ## one notebook: NB=01_robustness_study SCALE=colab ARGS='-p train_size 2000'
	$(BIN)/python -m robust_lib notebook $(NB) --scale $(SCALE) $(ARGS)

site: $(VENV)/installed  ## a static HTML site of the executed notebooks of SCALE=micro
	$(BIN)/python -m robust_lib site --scale $(SCALE)

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

# The tools that look at the others have an environment of their own, by pyproject's group `audit`.
$(AUDIT)/installed: pyproject.toml
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --upgrade pip
	$(AUDIT)/bin/python -m pip install --quiet --group audit
	@touch $@

# What torch's CUDA build brings is left out, and the name of its CPU build: the lock serves both.
lock: $(AUDIT)/installed  ## requirements.lock, the version of every package that the pins bring
	$(AUDIT)/bin/pip-compile --quiet --all-extras --allow-unsafe --strip-extras --no-header --annotation-style line \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml
	@sed -i.made -e 's/+cpu//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton/d' requirements.lock && rm requirements.lock.made

# --strict: a package that the service does not know is a failure, or a service that knows nothing would be clean.
vulnerabilities: $(AUDIT)/installed  ## known vulnerabilities of the locked packages, asked of PyPI
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock

sbom: $(AUDIT)/installed  ## runs/sbom.cdx.json, the locked packages as a CycloneDX bill of materials
	@mkdir -p runs
	$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type library --output-reproducible \
	  --output-file runs/sbom.cdx.json requirements.lock

clean:  ## runs/ and caches (the store too); the environment stays
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
