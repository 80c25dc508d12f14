#!/bin/sh
# Builds the wheel, installs it in an empty environment, and runs the tests marked `wheel` with the sources out of sight.
# Usage: tests/wheel.sh PYTHON (one that has the build requirements).
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
"$python" -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir "$work/dist" .
mkdir -p dist && cp "$work"/dist/*.whl dist/
"$python" -m venv "$work/env"
"$work/env/bin/pip" --disable-pip-version-check install --quiet -c constraints.txt torch "$work"/dist/*.whl pytest hypothesis
cp -r tests "$work/tests"
cp pyproject.toml "$work/"
cd "$work"
ls -l dist | awk 'NR > 1 { printf "wheel: %s, %.2f MB\n", $NF, $5 / 1e6 }'
env/bin/rambit info
env/bin/python -m pytest -m wheel tests/attribution tests/ops
