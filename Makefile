# `make demo` and `make test` need nothing but Python >= 3.10, a C++ compiler and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads look for work for a moment, then sleep: two that spin on shared cores can be far slower than one, and two that
# sleep at once take longer to wake than a small product lasts.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 5000
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt
# Most tests keep one core busy: a process for each of two. Those of a file run in one process, which makes its fixtures once.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
NATIVE := CMakeLists.txt pyproject.toml constraints.txt $(wildcard csrc/*.* csrc/*/*.*)

.PHONY: setup demo test quick lint pytest fallback native cuda wheel pythons docs bench bench-check bench-compare profile peers peer-suites rex-env study compare documents clean

setup: $(VENV)/installed

$(VENV)/created: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch numpy "scikit-build-core>=0.11" "pybind11>=2.13" cmake ninja
	touch $@

$(VENV)/installed: $(VENV)/created $(NATIVE)
	$(PIP) --no-build-isolation -e ".[dev,all]"
	touch $@

demo: setup
	$(BIN)/rambit demo

# Two at a time: each waits now and then, or keeps one core busy.
test: setup
	$(MAKE) -j2 lint native
	$(MAKE) pytest
	$(MAKE) -j2 wheel docs fallback

# The checks of a minute, for while one works.
quick: setup
	$(PYTEST) -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint -s .github .pre-commit-config.yaml recipe

pytest: setup
	$(PYTEST)

# The ops in plain torch, as devices without native ones have them, in the place of the native ops.
fallback: setup
	$(BIN)/python -m pytest --fallback tests/ops -m wheel

# The torch-free C++ test, under AddressSanitizer and UndefinedBehaviorSanitizer.
native: setup
	$(BIN)/cmake -G Ninja -S . -B build/native -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DRAMBIT_NATIVE_TESTS=ON -DRAMBIT_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug > build/native.log || (cat build/native.log; false)
	$(BIN)/cmake --build build/native
	build/native/native_test

# Compiles and links the CUDA code wherever there is a CUDA compiler, GPU or not.
cuda: setup
	@if command -v nvcc > /dev/null; then \
	  $(BIN)/cmake -G Ninja -S . -B build/cuda -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DRAMBIT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=80 -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) > /dev/null && \
	  $(BIN)/cmake --build build/cuda --target _ops_cuda && echo "CUDA: compiled and linked"; \
	else echo "CUDA: no nvcc here, not compiled"; fi

# The wheel, with CUDA's ops wherever there is a CUDA compiler, in an empty environment, with the sources out of sight.
wheel: setup
	sh tests/wheel.sh $(abspath $(BIN))/python

# The wheels of the other Pythons that are on PATH, and what of them can be tested without a torch of theirs.
PYTHONS ?= python3.10 python3.12 python3.13
pythons: setup
	sh tests/pythons.sh $(abspath $(BIN))/python $(PYTHONS)

# The documentation, build/docs/index.html, with its notebooks run; a warning is an error.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

# Every figure in one table; pytest-benchmark keeps the run under the machine's name.
bench: setup peers
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet --benchmark-autosave \
	  --benchmark-storage=bench/results/$$($(BIN)/python -m bench.machine)

# Fails when a ratio falls short twice in a row of what it must be on every machine, or could not be measured.
STORAGE ?= build/benchmarks
bench-check: setup peers rex-env
	$(BIN)/python -m bench.check --storage $(STORAGE)

# Fails when a ratio is more than 15 % worse than in another checkout, four times in a row.
BASE ?= ../base
bench-compare: setup peers
	$(MAKE) -C $(BASE) setup peers
	$(BIN)/python -m bench.check --against $(BASE)

# Where each capability's time goes.
profile: setup
	$(BIN)/python -m bench.profiles

# What the benchmarks compare with, beyond what the tests need.
peers: $(VENV)/peers

$(VENV)/peers: $(VENV)/installed
	$(PIP) "time_interpret>=0.3"
	touch $@

# The peers' own tests with our drop-in classes in the place of theirs; their sources are fetched for it and not kept.
peer-suites: setup peers
	$(PIP) parameterized
	$(BIN)/python -m bench.peers

# rex-xai pins its own numpy; the benchmark calls it as a program.
rex-env: build/rex-env/installed

build/rex-env/installed:
	$(PYTHON) -m venv build/rex-env
	build/rex-env/bin/pip --disable-pip-version-check install --quiet torch==2.13.0 numpy==1.26.4 rex-xai==0.4.1
	touch $@

# Methods side by side where the truth is known, then the mask families. Half an hour on one idle core; what was made stays
# in build/study, so that a stopped run goes on.
study: setup
	$(BIN)/python -m studies.methods

# The four systems in one table. Minutes on one core.
compare: setup
	$(BIN)/python -m studies.systems

# A model of nested documents, and how often what suffices of one holds the field that decides. A minute on one core.
documents: setup
	$(PIP) botocore==1.40.76
	$(BIN)/python -m studies.documents

clean:
	rm -rf build dist $(VENV) .wheel-venv
