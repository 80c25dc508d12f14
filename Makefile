# `make demo` and `make test` need nothing but Python >= 3.10, a C++ compiler and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two spinning threads on two shared cores can be far slower than one.
export OMP_WAIT_POLICY := PASSIVE
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt
NATIVE := CMakeLists.txt pyproject.toml constraints.txt $(wildcard csrc/*.* csrc/*/*.*)

.PHONY: setup demo test quick lint pytest native cuda wheel bench study clean

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

test: lint pytest native cuda wheel

# The checks of a minute, for while one works.
quick: setup
	$(BIN)/python -m pytest -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint -s .github

pytest: setup
	$(BIN)/python -m pytest

# The torch-free C++ test, under AddressSanitizer and UndefinedBehaviorSanitizer.
native: setup
	$(BIN)/cmake -G Ninja -S . -B build/native -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DRAMBIT_NATIVE_TESTS=ON -DRAMBIT_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug > build/native.log || (cat build/native.log; false)
	$(BIN)/cmake --build build/native
	build/native/native_test

# Compiles and links the CUDA code wherever there is a CUDA compiler, GPU or not.
cuda: setup
	@if command -v nvcc > /dev/null; then \
	  $(BIN)/cmake -G Ninja -S . -B build/cuda -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DRAMBIT_CUDA=ON -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) > /dev/null && \
	  $(BIN)/cmake --build build/cuda --target _ops_cuda && echo "CUDA: compiled and linked"; \
	else echo "CUDA: no nvcc here, not compiled"; fi

# The wheel in an empty environment, with the sources out of sight.
wheel: setup
	sh tests/wheel.sh $(abspath $(BIN))/python

bench: setup
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-columns=min,median,rounds

# Methods side by side, with a GRU trained as in the WinIT paper and with one that learns all the sets; then the mask
# families. Half an hour on two cores; what was made stays in build/study, so that a stopped run goes on.
METHODS := winit:W=10,S=3,winit:aggregate=max,W=10,S=3,rambit:cf=generator,L=10,W=10,S=3,rambit:cf=generator,reduce=max,L=10,W=10,S=3,leave-one-out:cf=generator,W=10,S=3,leave-one-out:cf=generator,reduce=max,W=10,S=3,rambit:L=10,W=10,S=3,rambit:anchor=mask,L=10,W=10,S=3,fo,afo,random
STUDY := bench/results/study
study: setup
	mkdir -p build/study $(STUDY)
	$(BIN)/rambit compare --data spike,spike:delay=2 --methods $(METHODS) --out build/study/paper
	$(BIN)/rambit compare --data spike,spike:delay=2,state:truth=change,state:truth=active,redundant_spike \
	  --methods $(METHODS) --hidden 50 --epochs 20 --lr 1e-2 --weight-decay 0 --dropout 0 --out build/study/learned
	$(BIN)/rambit study --out build/study/learned
	for kind in csv txt png; do cp build/study/paper/compare.$$kind $(STUDY)/paper.$$kind && \
	  cp build/study/learned/compare.$$kind $(STUDY)/learned.$$kind && cp build/study/learned/study.$$kind $(STUDY)/; done

clean:
	rm -rf build dist $(VENV) .wheel-venv
