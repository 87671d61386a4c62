#!/usr/bin/env bash
# Teaches a small model to reason through sums on one CPU, from nothing but a Python >= 3.11.
# Arguments go to the training command: bash launch/quickstart.sh --config.total_steps=40
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment
cd "$ROOT"
exec "$PYTHON_BIN" -m magistral_jax.train \
  --config=configs/quickstart.py --workdir=runs/quickstart "$@"
