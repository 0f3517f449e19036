# make demo    creates .venv, installs, certifies a bundled network on real images, prints the table, keeps the run
# make test    creates .venv, installs, runs the whole test suite
# make fuzz    reads CASES random ONNX models of each kind from SEED on, beside onnxruntime; prints what differs
#
# PYTHON        an interpreter of version 3.11 to 3.13; the first that is found, if not given
# TORCH_INDEX   another package index to take torch from, such as the one of CPU-only builds
# TESTS         what `make test` runs; by default everything

SUITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(SUITS)' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
TESTS ?= tests
SEED ?= 0
CASES ?= 5000
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test lint bench conformance fuzz clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	@$(BIN)/verify certify digits-conv-interval --data digits --eps 0.1 --limit 100

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --timeout 300 $(TESTS)

# published benchmark families and other long runs, marked `conformance`
conformance: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m conformance --timeout 3600 $(TESTS)

# random models; another SEED gives others
fuzz: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(SEED) $(CASES)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/pyright

bench: $(STAMP)
	@for script in benchmarks/*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$script || exit 1; done

clean:
	@rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# the environment; made again when what it is made from changes
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 is found; name one with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c '$(SUITS)' || { echo "error: $(PYTHON) is not Python 3.11 to 3.13; name one with PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || { echo "creating .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "installing, which takes some minutes the first time"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev]'
	@touch $@
