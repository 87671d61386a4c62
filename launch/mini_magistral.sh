#!/usr/bin/env bash
# Walks the whole recipe in miniature on one machine, from nothing but a Python >= 3.11: 75 minutes of
# CPU, on two cores. Interrupted, it goes on; arguments go to the command:
# bash launch/mini_magistral.sh --seed=1 --output=runs/mini_1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment
cd "$ROOT"
exec "$PYTHON_BIN" -m magistral_jax.miniature "$@"
