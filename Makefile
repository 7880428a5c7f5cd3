# `make` lists the targets. Paths are relative throughout, so the tree may lie in a folder with a space in its name.
PYTHON ?= python3
PROFILE ?= book
.DEFAULT_GOAL := help
.PHONY: help env book test lint bench lab clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "PROFILE=smoke: the book from short runs. PYTHON=/path/to/python3.11: the Python of .venv."

env:  ## make .venv with the pinned versions, if it is not there yet
	@$(PYTHON) book/environment.py

book: env  ## execute the notebooks and render the book to _build/html
	@.venv/bin/python -m book.build --profile "$(PROFILE)"

test: env  ## lint, types and tests
	@.venv/bin/python tests/run.py

lint: env  ## mend what ruff can mend, then show the rest
	@.venv/bin/python -m ruff check --fix .
	@.venv/bin/python -m ruff format .

bench: env  ## measure speed: each file of tests/benchmarks
	@for file in tests/benchmarks/*.py; do \
	  test -e "$$file" || { echo "tests/benchmarks holds no file yet"; exit 1; }; \
	  echo "== $$file"; .venv/bin/python "$$file" || exit 1; \
	done

lab: env  ## open the notebooks in Jupyter Lab
	@.venv/bin/python -m jupyterlab notebooks

clean:  ## remove what book and tests made; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
