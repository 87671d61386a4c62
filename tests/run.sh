#!/usr/bin/env bash
# Lints, type checks and tests, making the environment first if need be.
# Arguments go to pytest: bash tests/run.sh tests/batching -k packing
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"
environment dev
cd "$ROOT"
# pytest runs whatever the others say, so that its summary is always the last line printed.
failed=0
"$PYTHON_BIN" -m ruff check --output-format=concise . || failed=$?
"$PYTHON_BIN" -m pyrefly check --output-format=min-text \
  --python-interpreter-path="$PYTHON_BIN" || failed=$?
# Two processes: most tests keep one core busy, and their deadlines allow for no more company.
"$PYTHON_BIN" -m pytest --numprocesses=2 --no-loadscope-reorder "$@"
exit "$failed"
