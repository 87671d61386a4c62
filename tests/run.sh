#!/usr/bin/env bash
# Lints and tests, making the environment first if need be.
# Arguments go to pytest: bash tests/run.sh tests/batching -k packing
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"
environment dev
cd "$ROOT"
# pytest runs whatever ruff says, so that its summary is always the last line printed.
lint=0
"$PYTHON_BIN" -m ruff check --output-format=concise . || lint=$?
"$PYTHON_BIN" -m pytest "$@"
exit "$lint"
