#!/usr/bin/env bash
# Tests that hold files against transformers itself, its newest version and every family: what it
# saves is read, and what is exported it reads. The environment is .venv-peers in the project's root
# or $MAGISTRAL_VENV; $TORCH is the requirement for torch, such as torch==2.13.0+cpu.
# Arguments go to pytest: bash tests/peers.sh -k mixtral
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"
MAGISTRAL_VENV=${MAGISTRAL_VENV:-$ROOT/.venv-peers}
environment test
cd "$ROOT"
"$PYTHON_BIN" -m pip install --quiet --quiet --disable-pip-version-check --upgrade \
  --upgrade-strategy only-if-needed "${TORCH:-torch>=2.6}" 'transformers>=5'
echo "Peers: $("$PYTHON_BIN" -c '
import importlib.metadata as m
print(", ".join(f"{name} {m.version(name)}" for name in ("transformers", "torch", "jax")))')"
"$PYTHON_BIN" -m pytest tests/golden "$@"
