# `make` lists the targets. Paths are relative throughout, so the tree may lie in a folder with a space in its name.
PYTHON ?= python3
PROFILE ?= book
.DEFAULT_GOAL := help
.PHONY: help env book pdf colab test lint bench lab release clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "PROFILE=smoke makes the book from short runs; PYTHON=/path/to/python3.11 is the Python of .venv"

env:  ## install the pinned versions into .venv, if they are not there yet
	@$(PYTHON) book/environment.py

book: env  ## execute the notebooks, render _build/html and its zip; goes on where it stopped
	@.venv/bin/python -m book.build --profile "$(PROFILE)"

pdf: book  ## print the book to _build/adlib.pdf with an installed Chromium
	@.venv/bin/python -m book.pdf

colab:  ## run the notebooks with Colab's versions; Colab itself has PYTHON=python3.13
	@$(PYTHON) -m book.colab

test: env  ## run lint, types, the book from short runs, and the tests
	@.venv/bin/python tests/run.py

lint: env  ## format, and mend or show what ruff finds
	@.venv/bin/python -m ruff check --fix .
	@.venv/bin/python -m ruff format .

bench: env  ## measure speed with each file of tests/benchmarks
	@failed=0; for file in $$(grep -l __main__ tests/benchmarks/*.py); do \
	  echo "== $$file"; .venv/bin/python "$$file" || { failed=1; echo "== $$file FAILED"; }; \
	done; exit $$failed

lab: env  ## open the notebooks in Jupyter Lab
	@.venv/bin/python -m jupyterlab notebooks

release: env  ## check everything a release needs, and print the commands that publish it
	@.venv/bin/python -m book.release

clean:  ## remove the files that book and tests made; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
