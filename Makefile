PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo analysis notebooks reproduce figures test lint check-all bench clean

ARCHIVE :=
STATS_DIR :=
FIGURES_DIR := results

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/installed-analysis: .venv/bin/python requirements-analysis.txt pyproject.toml
	$(BIN)/pip install --quiet -r requirements-analysis.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

.venv/installed-notebooks: .venv/installed-analysis requirements-notebooks.txt
	$(BIN)/pip install --quiet -r requirements-notebooks.txt
	@touch $@

.venv/installed: .venv/installed-notebooks requirements.txt
	$(BIN)/pip install --quiet -r requirements.txt
	@touch $@

.venv/installed-test: .venv/installed requirements-test.txt requirements-dask.txt
	$(BIN)/pip install --quiet -r requirements-test.txt
	@touch $@

demo: .venv/installed  ## run three models over the embedded photographs and type their errors (in demo/)
	$(BIN)/python src/collect_predictions.py --dataset sample --artefacts_dir demo/artefacts
	$(BIN)/python src/evaluation.py --dataset sample --perform_error_analysis --collect_results \
		--artefacts_dir demo/artefacts --results_dir demo
	$(BIN)/python src/evaluation.py --dataset sample --artefacts_dir demo/artefacts \
		--explain motorcycle_left.png --model efficientnet_lite/lite1

analysis: .venv/installed-analysis  ## set up what predictions, archives, tables and figures need: no torch
	@echo "ready: source .venv/bin/activate"

notebooks: .venv/installed-notebooks  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab src

reproduce: .venv/installed-notebooks  ## all of the paper's results from its archive (in results/): make reproduce ARCHIVE=<file, if you have it>
	$(BIN)/python src/reproduce.py $(if $(ARCHIVE),--archive "$(ARCHIVE)")

figures: .venv/installed-analysis  ## draw the paper's figures; your own: make figures STATS_DIR=<holds stats-imagenet/> FIGURES_DIR=<where to>
	$(BIN)/python src/utils_plot.py $(if $(STATS_DIR),--stats_dir "$(STATS_DIR)") --results_dir "$(FIGURES_DIR)"

test: .venv/installed-test lint  ## check the style and types, then run the test suite
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: .venv/installed-test  ## check the style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-all: test  ## run the suite and the heavy checks (they install a second environment)
	$(BIN)/python -m pytest -m heavy -n auto --dist loadfile

bench: .venv/installed-test  ## measure speed, and write benchmarks/RESULTS.md
	PYTHONPATH=. $(BIN)/python benchmarks/run_all.py

clean:  ## remove the environment and what the demo wrote
	rm -rf .venv demo
