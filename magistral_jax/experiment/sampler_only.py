"""What commands that never train read of a config: serve, rate, and evaluate.

They take the config of a run, whose other keys they neither need nor check, or a shorter one:

    c = mlc.ConfigDict(dict(seed=0))
    c.tokenizer = dict(kind='auto', path='')
    c.data = dict(max_prompt_tokens=1024, template='chatml')
    c.model = dict(checkpoint='', dtype='bfloat16', vision='off')
    c.sampler = dict(slots=32, max_new_tokens=1024, page_tokens=16, pages=0, decode_steps=4)
    c.mesh = dict(sampler=dict(expert=1, tensor=1))
"""

from __future__ import annotations

from collections.abc import Sequence

from magistral_jax import sharding
from magistral_jax.experiment import build, checks, model_checks, stage_configs
from magistral_jax.experiment.values import change, check_limits, flat, within
from magistral_jax.experiment.verification import DEFAULTS
from magistral_jax.models.formats import checkpoint

READ = ('seed', 'tokenizer', 'data.max_prompt_tokens', 'data.template', 'data.system_prompt',
        'model.checkpoint', 'model.dtype', 'model.vision', 'sampler.slots',
        'sampler.max_new_tokens', 'sampler.top_p', 'sampler.page_tokens', 'sampler.pages',
        'sampler.kv_dtype', 'sampler.weight_dtype', 'sampler.decode_steps', 'sampler.draft_tokens',
        'sampler.draft_slots', 'mesh.sampler', 'evaluation.max_new_tokens', 'evaluation.top_p',
        'runtime.samplers', 'runtime.deadline_s', 'stages.order')
# What a shorter config leaves out: one sampler, which nothing but its own section says more about.
_UNSAID = {
    'data.system_prompt': '', 'sampler.top_p': 1.0, 'sampler.kv_dtype': 'model',
    'sampler.weight_dtype': 'model', 'sampler.draft_tokens': 0, 'evaluation.top_p': 1.0,
    'runtime.samplers': 1, 'runtime.deadline_s': 1800.0, 'stages.order': '',
    'runtime.verifier_workers': DEFAULTS['runtime']['verifier_workers']}


def prepare(c, path: str, read: Sequence[str] = ()) -> checks.Parts:
  """Checks all that sampling from the checkpoint at `path` needs, as `checks.prepare`.

  This process has samplers alone, whatever runtime.mode says.

  Args:
    c: the config; gets the checkpoint, and what it leaves out.
    read: keys and sections that the command itself reads and that must be there.
  Raises:
    ValueError: as `checks.check`.
  """
  checkpoint.kind(path, key='--checkpoint')
  change(c, {'model.checkpoint': path})
  check(c, read, READ)
  stage_configs.check_names(c)
  checks.check_tokenizer(c)
  checks.check_pages(c)
  model_checks.check_checkpoint(c)
  tok = build.tokenizer(c)
  config = build.model_config(c, tok.vocab_size)
  checkpoint.open_weights(path, config)    # Names, shapes and sizes; no weights.
  model_checks.check_tokens(c, tok, config)
  meshes = build.Meshes(None, build.sampler_meshes(c))
  model_checks.check_cuts(c, config, sharding.SAMPLER, 'sampler')
  model_checks.check_rounding(c, config)
  return checks.Parts(tok, config, meshes, None, None)


def check(c, read: Sequence[str], sampled: Sequence[str] = ()) -> None:
  """Gives a config what it may leave out, and raises ValueError for keys that are read and wrong.

  Args:
    read: keys and sections that must be there; with `verifiers` its rewards are looked at, too.
    sampled: others that are read and may be left out if _UNSAID says what they are then.
  """
  complete(c, read)
  check_limits(c, read=[*read, *sampled])
  if 'verifiers' in read:
    checks.check_verifiers(c)


def complete(c, read: Sequence[str] = ()) -> None:
  """Gives a config what it may leave out, but for keys and sections that are read themselves."""
  known = dict(flat(c))
  missing = {key: value for key, value in _UNSAID.items() if key not in known}
  if 'sampler.max_new_tokens' in known:
    missing |= {key: known['sampler.max_new_tokens'] for key in ['evaluation.max_new_tokens']
                if key not in known}
  if 'verifiers' not in c:
    missing |= dict(flat(dict(verifiers=DEFAULTS['verifiers'])))
  change(c, {key: value for key, value in missing.items()
             if not any(within(key, part) for part in read)})
