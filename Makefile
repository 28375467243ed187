# `make demo` and `make test` need Python >= 3.11 with venv, and nothing else. Both install into .venv.
#
#   PYTHON       the interpreter to make .venv with
#   TORCH_INDEX  an index for torch alone, for machines whose usual index offers only a CUDA build:
#                make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow check format clean

demo: .venv/demo
	$(BIN)/ganvas train avae --data digits --preset small --width 8 --out demo/avae-digits
	$(BIN)/ganvas evaluate demo/avae-digits --metrics mse,psnr,ssim,fd-digits
	$(BIN)/ganvas report demo/avae-digits
	@echo
	@echo 'Open demo/avae-digits/report.html in a browser: samples over time, curves, and the figures above.'
	@echo 'mse: mean squared error of reconstructions (pixels from -1 to 1), lower is better. psnr (dB), ssim (up to 1):'
	@echo 'the same reconstructions, higher is better. fd-digits: distance of samples from real digits, lower is better.'

test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-slow: .venv/test
	$(BIN)/python -m pytest -m slow

check: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ganvas needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	@echo 'Installing PyTorch: about 200 MB for the CPU, several GB with CUDA (TORCH_INDEX chooses, see the README).'
	$(PIP) $(if $(TORCH_INDEX),--no-deps --index-url $(TORCH_INDEX)) torch  # what it depends on: from the usual index
	@touch $@

.venv/demo: .venv/torch pyproject.toml
	@echo 'Installing Ganvas and what it needs.'
	$(PIP) --editable .
	@touch $@

.venv/test: .venv/torch pyproject.toml
	@echo 'Installing Ganvas and what its tests need.'
	$(PIP) --editable '.[test]'
	@touch $@ .venv/demo

clean:
	rm -rf .venv demo build src/*.egg-info
