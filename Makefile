# make demo    creates .venv, installs, certifies a bundled network on real images, prints the table, keeps the run
# make test    creates .venv, installs, runs the whole test suite
# make quick   tests of every room that are done within a minute on two cores, for while you work
# make test-all  the whole test suite with Python 3.11 and with Python 3.13, each in an environment of its own
# make lint    style and types of package, models, examples, tests and benchmarks
# make bench   every benchmark, whether others fail or not, and a table of them
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
VENV := $(patsubst %/bin,%,$(BIN))
STAMP = $(VENV)/installed

# files of `make quick`, at least one a room; what is marked slow is left out
QUICK := $(addprefix tests/,\
	house/test_layout.py house/test_words.py house/test_make.py test_bracket.py test_spec.py test_rationals.py \
	ops/test_op_geometry.py ir/test_graph.py ir/test_rewrite.py ir/test_onnx_products.py vnnlib/test_vnnlib.py \
	sets/test_convex.py lower/test_lower.py upper/test_forward.py exact/test_search_parts.py \
	solvers/test_solvers.py proof/test_proofs.py::test_the_same_problem_gives_the_same_bytes check/test_check_protobuf.py runs/test_store.py \
	report/test_report_figures.py train/test_recipe.py cli/test_cli_mistakes.py smoothing/test_noise.py \
	uap/test_universal.py fronts/test_fronts.py)

.PHONY: demo test quick test-all lint bench conformance fuzz clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	@$(BIN)/verify certify digits-conv-interval --data digits --eps 0.1 --limit 100

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --timeout 300 $(TESTS)

quick: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow and not conformance' $(QUICK)

# the oldest and the newest Python; the environments are .venv-3.11 and .venv-3.13
test-all:
	@for version in 3.11 3.13; do python$$version -c '' 2>/dev/null || \
		{ echo "error: python$$version is not found, so make test-all cannot test with it; install it first" >&2; exit 2; }; done
	@for version in 3.11 3.13; do $(MAKE) test PYTHON=python$$version BIN=.venv-$$version/bin || exit 1; done

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
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

clean:
	@rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# the environment; made again when what it is made from changes
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 is found; name one with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c '$(SUITS)' || { echo "error: $(PYTHON) is not Python 3.11 to 3.13; name one with PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || { echo "creating $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing, which takes some minutes the first time"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev]'
	@touch $@
