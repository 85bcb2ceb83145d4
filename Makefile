# Every target does its own set-up first; on a machine that is set up this takes under a second.
PYTHON ?= python3

# How the tests run: in three processes for every two cores, since many tests wait for a node, each
# with one thread. A process that has nothing left to do takes tests from another.
WORKERS ?= $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))
PYTEST = pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal
test test-all coverage: export OMP_NUM_THREADS = 1

.PHONY: help setup demo test test-all coverage lint bench clean

help:
	@echo 'make demo [VIDEO=file|/dev/video0|clip]   meshes from a video, through ROS 2'
	@echo 'make test                                 the test suite'
	@echo 'make test-all                             the same and the slow checks at full size'
	@echo 'make coverage                             the same, with a report of the lines that ran'
	@echo 'make lint                                 the linter and the type checker'
	@echo 'make bench                                speed on this machine'
	@echo 'make setup                                set-up alone'
	@echo 'make clean                                removes what the set-up made'

setup:
	@$(PYTHON) scripts/setup

demo: setup
	scripts/with-env decomr demo --out demo_output $(if $(VIDEO),--video "$(VIDEO)")

test: setup
	scripts/with-env python -m $(PYTEST) -m 'not full_size'

test-all: setup
	scripts/with-env python -m $(PYTEST)

coverage: setup
	scripts/with-env coverage erase
	scripts/with-env coverage run -m $(PYTEST)
	scripts/with-env coverage combine --quiet
	scripts/with-env coverage report

lint: setup
	scripts/with-env ruff check .
	scripts/with-env ruff format --check .
	scripts/with-env mypy

bench: setup
	scripts/with-env decomr bench

clean:
	rm -rf .venv build install log demo_output *.egg-info
