# Every target does its own set-up first; on a machine that is set up this takes under a second.
PYTHON ?= python3

.PHONY: help setup demo test lint bench clean

help:
	@echo 'make demo [VIDEO=file|/dev/video0]   meshes from a video, through ROS 2'
	@echo 'make test                            the whole test suite'
	@echo 'make lint                            the style checks'
	@echo 'make bench                           speed on this machine'
	@echo 'make setup                           set-up alone'
	@echo 'make clean                           removes what the set-up made'

setup:
	@$(PYTHON) scripts/setup

demo: setup
	scripts/with-env decomr demo --out demo_output $(if $(VIDEO),--video "$(VIDEO)")

test: setup
	scripts/with-env python -m pytest

lint: setup
	scripts/with-env ruff check .

bench: setup
	scripts/with-env decomr bench

clean:
	rm -rf .venv build install log demo_output *.egg-info
