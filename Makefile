# make repro   everything from nothing: data, generator, protected copy, proof, report
# make test    the checks and every test (what CI runs); make test-fast leaves out the slow ones
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROFILE ?= starter

export PATH := $(CURDIR)/$(RUN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: repro flow track test test-fast check format profile train-small lock clean
.DEFAULT_GOAL := help

help:
	@grep -E '^# make' Makefile | cut -c3-

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed; set PYTHON=python3.12" >&2; exit 2; }
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(RUN)/uv || $(RUN)/pip install --quiet --disable-pip-version-check uv
	$(RUN)/uv pip sync --quiet --python $(RUN)/python requirements.lock
	$(RUN)/uv pip install --quiet --python $(RUN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# make repro is `dvc repro`, then the results into MLflow
repro: $(STAMP)
	dvc repro
	python -m tasks.tracking

# make flow    the same graph as a Prefect flow, independent stages side by side
flow: $(STAMP)
	python -m flows.reproduce

# Half as many processes again as processors, since tests also wait, for servers and for time to pass. A file's tests
# stay together, because they share fixtures.
PYTEST := pytest -n $(shell $(PYTHON) -c 'import os; own = getattr(os, "sched_getaffinity", None); print(3 * (len(own(0)) if own else os.cpu_count()) // 2)') --dist loadfile --no-loadscope-reorder

test: check
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow"

# make check   formatting, lint, types
check: $(STAMP)
	ruff format --check .
	ruff check .
	mypy

format: $(STAMP)
	ruff format .
	ruff check --fix .

# make profile PROFILE=objects   choose what `make repro` does (starter, objects, objects-smoke)
profile: $(STAMP)
	python -m tasks.profile $(PROFILE)

# make train-small   train the generator that ships again, from the photographs in UNSEG_DATA (a quarter of an hour of processor time)
SMALL := $(CURDIR)/data/small
train-small: $(STAMP)
	unseg weights $(SMALL)/start --size small --seed 0 --noise-filter stripes
	cd $(or $(UNSEG_DATA),../shared/data) && unseg train objects/icoseg objects/horses objects/cats \
		--validation objects/davis --weights $(SMALL)/start --out $(SMALL)/generator --params $(CURDIR)/profiles/small.yaml
	python -m tasks.ship $(SMALL)/generator

# make lock    compile requirements.lock again
lock:
	$(RUN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --all-extras pyproject.toml requirements.in -o requirements.lock

# make clean   remove the environment and what the pipeline made (DVC's cache stays)
clean:
	rm -rf $(VENV) data/* mlflow.db mlartifacts .pytest_cache .mypy_cache .ruff_cache
