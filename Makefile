# ScalpScope. `make` lists what can be made; every target works from a clean clone with nothing but Python.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test test-gpu lint format screenshots link-tensorrt check-aarch64 constraints clean distclean \
	system-run system-test

VENV ?= .venv
PYTHON ?=
ARGS ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
DEFINITION := setup.cfg pyproject.toml constraints.txt
XVFB := xvfb-run -a -s "-screen 0 1920x1080x24"
FIND_PYTHON := sh .ci/find-python $(PYTHON) python3 python3.12 python3.11 python3.10

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'
	@echo
	@echo 'Options: ARGS="--source camera:0" for run, PYTEST_ARGS="tests/device_app -x" for test, VENV=DIR, PYTHON=python3.12.'

run: system-run $(VENV)/.device ## start the app; ARGS="--source camera:0" and the like go to `scalpscope run`
	$(BIN)/scalpscope run $(ARGS)

test: system-test $(VENV)/.test ## ruff, mypy and pytest, everything the tests need installed first
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(XVFB) $(BIN)/python -m pytest $(PYTEST_ARGS) || status=1; \
	exit $$status

test-gpu: $(VENV)/.test ## on a machine with an NVIDIA GPU and TensorRT: build, prove and time engines for real
	sh .ci/link-tensorrt $(VENV)
	SCALPSCOPE_TEST_GPU=1 $(BIN)/python -m pytest tests/gpu $(PYTEST_ARGS)

lint: $(VENV)/.test ## ruff and mypy only
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.test ## rewrite the code the way ruff formats it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

screenshots: system-test $(VENV)/.device ## take the pictures of docs/images from the running app
	$(XVFB) $(BIN)/python docs/take_screenshots.py

link-tensorrt: $(VENV)/.device ## show the system's TensorRT (JetPack's) to the virtual environment; `run` does it at first
	sh .ci/link-tensorrt $(VENV)

# Resolving for another machine needs no such machine: uv reads the tags of the wheels, pip's own --platform would
# judge the markers by the machine it runs on. JetPack 6 is Ubuntu 22.04 with Python 3.10 (glibc 2.35), JetPack 7 is
# Ubuntu 24.04 with Python 3.12 (glibc 2.39). The wheels are fetched and unpacked, then looked into.
check-aarch64: $(VENV)/.uv ## prove that a Jetson can install every device dependency, and its CUDA bindings, from wheels
	$(BIN)/python .ci/check_aarch64.py --uv $(BIN)/uv 3.10:2.35:jetpack6 3.12:2.39:jetpack7

constraints: $(VENV)/.uv ## pin the newest versions that setup.cfg allows into constraints.txt
	sh .ci/pin $(BIN)/uv --upgrade

clean: ## remove what tools leave behind
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove the virtual environment
	rm -rf $(VENV)

# Each stamp is written last, so an installation that was interrupted is taken up again.
$(VENV)/.made:
	@python=$$($(FIND_PYTHON)) && set -x && "$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.device: $(VENV)/.made $(DEFINITION)
	@echo "Installing the app into $(VENV); the first time takes a minute."
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[device]'
	@sh .ci/link-tensorrt $(VENV)
	@touch $@

$(VENV)/.test: $(VENV)/.made $(DEFINITION) tests/tensorrt_bindings.txt
	@echo "Installing what the tests need; PyTorch makes this some gigabytes and minutes the first time."
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	sh .ci/tensorrt-bindings $(BIN)/python $(VENV)/tensorrt
	@touch $@ $(VENV)/.device

$(VENV)/.uv: $(VENV)/.made constraints.txt
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt uv
	@touch $@

system-run system-test: system-%:
	@python=$$($(FIND_PYTHON)) && sh .ci/system-packages $* "$$python"
