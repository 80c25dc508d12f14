#!/bin/sh
# For each other Python that is here: builds its wheel, looks at its size, compiles every file of it, and tests what needs no
# torch. The build needs torch's headers and libraries, which do not depend on the Python: it borrows those of PYTHON.
# Usage: tests/pythons.sh PYTHON OTHER...
set -eu
python=$1
shift
most=3000000
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lent"
ln -s "$("$python" -c "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin))")" "$work/lent/torch"
cp -r "$root/tests" "$root/pyproject.toml" "$work/"
for other in "$@"; do
  if ! "$other" -c "" 2> /dev/null; then
    echo "$other: not here"
    continue
  fi
  env="$work/env-$other"
  "$other" -m venv "$env"
  "$env/bin/pip" --disable-pip-version-check install --quiet -c "$root/constraints.txt" \
    "scikit-build-core>=0.11" "pybind11>=2.13" cmake ninja numpy numba pytest hypothesis
  (cd "$root" && PATH="$env/bin:$PATH" PYTHONPATH="$work/lent" "$env/bin/pip" --disable-pip-version-check wheel --quiet \
    --no-build-isolation --no-deps --config-settings=build-dir="$work/build-$other" --wheel-dir "$work/dist-$other" .)
  wheel=$(echo "$work/dist-$other"/*.whl)
  bytes=$(wc -c < "$wheel")
  [ "$bytes" -lt "$most" ] || { echo "$other: $(basename "$wheel") has $bytes bytes, more than $most"; exit 1; }
  "$env/bin/pip" --disable-pip-version-check install --quiet --no-deps "$wheel"
  installed=$("$env/bin/python" -c "import importlib.util as u; print(u.find_spec('rambit').submodule_search_locations[0])")
  "$env/bin/python" -m compileall -q -f "$installed"
  (cd "$work" && "$env/bin/python" -m pytest --noconftest -p tests.without_torch -p no:cacheprovider -m "not slow" \
    tests/ops/test_flip_plan.py tests/rex/test_kernels.py)
  echo "$other: $(basename "$wheel"), $bytes bytes, compiled and tested without torch"
done
