#!/usr/bin/env bash
# A short suite, about a minute, on the newest Python beside the one of tests/run.sh, with the
# newest JAX that setup.py allows. Its environment is .venv-3.NN in the project's root.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"
cd "$ROOT"

# One test of each kind: structure and documents, plain Python, numerics, a loop of fakes in
# lockstep, and a whole run with a model at toy size.
TESTS=(
  tests/test_structure.py tests/test_docs.py tests/test_metrics.py tests/batching
  tests/verifiers/math tests/verifiers/test_reward.py tests/verifiers/test_format.py
  tests/models/test_decoder.py tests/trainer/test_losses.py tests/trainer/test_batch_to_loss.py
  tests/orchestration/test_ledger.py tests/orchestration/test_lockstep.py
  'tests/experiment/test_configs.py::test_a_config_runs_from_start_to_report[quickstart]')

newer_python() {
  # Prints the newest Python, on the PATH or of pyenv, that is newer than the Python $1.
  local than minor candidate
  than=$("$1" -c 'import sys; print(sys.version_info.minor)')
  for minor in 13 12; do
    [ "$minor" -gt "$than" ] || continue
    for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python; do
      "$candidate" -c 'import ensurepip, venv' 2>/dev/null || continue
      echo "$candidate"
      return 0
    done
  done
  return 1
}

main=${MAGISTRAL_VENV:-$ROOT/.venv}/bin/python
"$main" -c '' 2>/dev/null || main=$(find_python)
if ! PYTHON=$(newer_python "$main"); then
  echo "The short suite is left out: no Python newer than $("$main" --version) is there, up to 3.13."
  exit 0
fi
MAGISTRAL_VENV=$ROOT/.venv-$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
environment test
echo "Short suite: $("$PYTHON_BIN" --version)," \
  "$("$PYTHON_BIN" -c 'import importlib.metadata as m; print("jax", m.version("jax"))')"
"$PYTHON_BIN" -m pytest --numprocesses=2 "${TESTS[@]}" "$@"
