#!/usr/bin/env bash
# Tests of the server with clients that others wrote: the openai package, lm-eval, and the client of
# renderers, which needs openai 2. The environment is .venv-clients in the project's root or
# $MAGISTRAL_VENV; $TORCH is the requirement for torch, which lm-eval needs. Arguments go to pytest:
# bash tests/clients.sh -k openai
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/environment.sh"
MAGISTRAL_VENV=${MAGISTRAL_VENV:-$ROOT/.venv-clients}
environment test,serve
cd "$ROOT"
"$PYTHON_BIN" -m pip install --quiet --quiet --disable-pip-version-check --upgrade \
  --upgrade-strategy only-if-needed "${TORCH:-torch>=2.6}" 'transformers>=5' 'openai>=2,<3' \
  'lm-eval[api]>=0.4.13,<0.5' 'renderers>=0.1.12,<0.2'
echo "Clients: $("$PYTHON_BIN" -c '
import importlib.metadata as m
print(", ".join(f"{name} {m.version(name)}" for name in ("openai", "lm-eval", "renderers")))')"
"$PYTHON_BIN" -m pytest tests/serving/test_clients.py tests/serving/test_lm_eval.py \
  -m 'long or not long' "$@"
