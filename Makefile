# make demo: install into .venv, train a writer on what digits there are, write a number, trace its
# picture, and show all three on one sheet.
# make test: install into .venv and run the tests. Both can be run again.
# make test-slow: the tests that take minutes too.
# make fuzz: a million random calls of the op against the reference, in two processes.
# make sanitize: the op's tests and fuzzed calls on a build with AddressSanitizer and UBSan.
# make coverage: the tests, and which lines of softraster and handwriting they leave out.
# make test-faults: faults planted in csrc, one at a time, each of which the op's tests must notice.
# make mutate: small changes to the drawing calls, losses and metrics, each of which tests must notice.

PYTHON ?= python3
VENV ?= .venv
# The release that softraster is tested with; any from 2.10 on works.
TORCH ?= torch==2.13.0
DEMO_MINUTES ?= 7
# Half the post's units at twice its step size: most digits are legible within those minutes.
DEMO_TRAIN ?= --units 256 --lr 1e-3 --epochs 100
DEMO_OUT ?= runs/demo
FUZZ_CALLS ?= 1000000

BIN := $(VENV)/bin
STAMP := $(VENV)/installed
CPP := $(wildcard csrc/*.h csrc/*.cpp csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu)
CPP_TESTS := $(wildcard tests/*/*.h tests/*/*.cpp tests/*/*.cu)

.PHONY: demo test test-slow fuzz sanitize coverage mutate test-faults lint format bench clean

demo: $(STAMP)
	$(BIN)/python -m handwriting train --out $(DEMO_OUT) $(DEMO_TRAIN) --minutes $(DEMO_MINUTES)
	$(BIN)/python -m handwriting figures --run $(DEMO_OUT) --count 20
	$(BIN)/python examples/write_and_trace.py --out $(DEMO_OUT) --below $(DEMO_OUT)/figure.png

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest --long

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz.py --calls $(FUZZ_CALLS) --processes 2

sanitize: $(STAMP)
	$(BIN)/python tests/sanitize.py

# Of sub-processes and workers too: see [tool.coverage.run].
coverage: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutate: $(STAMP)
	$(BIN)/python tests/mutate.py

test-faults: $(STAMP)
	$(BIN)/python tests/planted_faults.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP) $(CPP_TESTS)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP) $(CPP_TESTS)

bench: $(STAMP)
	$(BIN)/python benchmarks/bench_draw.py

# Editable: Python edits need no install, and an edit in csrc compiles what changed.
$(STAMP): pyproject.toml setup.py setup_cuda.py $(CPP)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf build dist *.egg-info softraster/*.so .pytest_cache .ruff_cache
