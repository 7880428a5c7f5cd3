# `make` lists the targets. Paths are relative throughout, so the tree may lie in a folder with a space in its name.
PYTHON ?= python3
PROFILE ?= book
.DEFAULT_GOAL := help
.PHONY: help env book pdf colab test lint bench lab release clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "PROFILE=smoke: the book from short runs. PYTHON=/path/to/python3.11: the Python of .venv."

env:  ## make .venv with the pinned versions, if it is not there yet
	@$(PYTHON) book/environment.py

book: env  ## execute the notebooks, render the book to _build/html, pack it as a zip
	@.venv/bin/python -m book.build --profile "$(PROFILE)"

pdf: book  ## print the book to _build/adlib.pdf, with a Chromium that is installed
	@.venv/bin/python -m book.pdf

colab:  ## run the notebooks under Colab's versions; PYTHON=python3.13 is Colab's own
	@$(PYTHON) -m book.colab

test: env  ## lint, types, the book from short runs, tests
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

release: env  ## check all that a release needs; print the commands that make it
	@.venv/bin/python -m book.release

clean:  ## remove what book and tests made; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
