"""The command without the packages of its extra."""
import sys

import pytest

from magistral_jax import serve, serving
from tests import tiny


def test_what_is_not_installed_is_said_in_a_sentence(monkeypatch, capsys):
  args = serve.parse(['serve', f'--config={tiny.CONFIGS}/quickstart.py', '--checkpoint=nowhere'])
  for name in ('opening', 'server', 'api'):
    monkeypatch.delitem(sys.modules, f'magistral_jax.serving.{name}', raising=False)
    monkeypatch.delattr(serving, name, raising=False)
  monkeypatch.setitem(sys.modules, 'uvicorn', None)
  with pytest.raises(SystemExit) as ended:
    serve.main(args)
  assert ended.value.code == 2
  assert capsys.readouterr().err == (
      'error: serving needs uvicorn, which is not installed: pip install -e ".[serve]" in the '
      'clone.\n')
