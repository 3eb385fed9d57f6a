# Everything below makes and uses .venv; nothing is installed outside it.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2

.PHONY: run test slow lint types contracts smoke wheel data figures peers validators instamatic clean help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[readers,zarr,nion,detwin,temscript,web,terminal-images,test,lint]"
	@touch .venv/installed

run: .venv/installed  ## the main job: an accelerated overnight survey on the simulated microscope
	$(BIN)/autoscope run configs/overnight_survey.yaml

test: .venv/installed  ## the default test suite
	$(BIN)/pytest -q -n 2

slow: .venv/installed  ## the tests that take minutes
	$(BIN)/pytest -q -n 2 -m slow

lint: .venv/installed  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed  ## strict types
	$(BIN)/mypy

contracts: .venv/installed  ## imports point downward
	$(BIN)/lint-imports

smoke: .venv/installed  ## every file of configs/ for a few acts
	$(BIN)/python -m tests.smoke

wheel: .venv/installed  ## the wheel in a clean environment, run from a folder of decoys
	$(BIN)/python -m tests.wheel

data: .venv/installed  ## real STEM-EDS maps through the package index, into data/
	$(BIN)/python -m environments.download data

figures: .venv/installed  ## measure what we claim: make figures ONLY=decision (or main_job, durable, latency ...) [SLOW=1]
	$(BIN)/python -m tests.figures $(ONLY) $(if $(SLOW),--slow)

faults: .venv/installed  ## rehearse every fault of the bus and write docs/faults.md
	$(BIN)/python -m tests.fault.table

peers:  ## other tools to compare with, each in an environment of its own under .venv-peers
	$(PYTHON) -m venv .venv-peers/gpax
	.venv-peers/gpax/bin/pip install --quiet gpax==0.1.9 numpyro==0.19.0 jax==0.6.2 jaxlib==0.6.2
	$(PYTHON) -m venv .venv-peers/atomai
	.venv-peers/atomai/bin/pip install --quiet torch==2.13.0
	.venv-peers/atomai/bin/pip install --quiet --no-deps atomai==0.8.1
	.venv-peers/atomai/bin/pip install --quiet gpytorch==1.15.2 "mendeleev<=0.6.1" six progressbar2 pandas networkx \
		matplotlib scipy scikit-learn scikit-image opencv-python-headless
	$(PYTHON) -m venv .venv-peers/gpcam
	.venv-peers/gpcam/bin/pip install --quiet gpcam==8.6.1

.venv-validators/installed:
	$(PYTHON) -m venv .venv-validators
	.venv-validators/bin/pip install --quiet roc-validator==0.13.0 pynxtools==0.16.0
	@touch .venv-validators/installed

validators: .venv/installed .venv-validators/installed  ## exports judged by the validators of RO-Crate and NeXus
	$(BIN)/pytest -q -m slow tests/system/test_validators.py

instamatic:  ## the driver instamatic on instamatic's own simulated JEOL, set apart under .venv-peers
	$(PYTHON) -m venv .venv-peers/instamatic
	.venv-peers/instamatic/bin/pip install --quiet instamatic==2.2.2
	AUTOSCOPE_INSTAMATIC_PYTHON=$(CURDIR)/.venv-peers/instamatic/bin/python \
		$(BIN)/pytest -q -m slow tests/unit/instruments/test_instamatic.py

clean:  ## remove what was built, keep runs
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
