"""Every key of a config with its type and its limits: the shape of configs/quickstart.py.

What depends on two keys or on the machine is in check.py.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

from magistral_jax.batching.advantages import ADVANTAGE_NORMS, NORMALIZERS
from magistral_jax.data.sources import SOURCES
from magistral_jax.data.templates import TEMPLATES
from magistral_jax.models.config import DTYPES, FAMILIES, VISION
from magistral_jax.models.decoder import REMAT
from magistral_jax.tokens import TOKENIZERS
from magistral_jax.trainer.losses import LOSSES
from magistral_jax.trainer.optimizer import OPTIMIZERS
from magistral_jax.trainer.state import KL_REFERENCES
from magistral_jax.verifiers.reward import CODE_REWARDS
from magistral_jax.verifiers.sandbox.sandbox import MODES as SANDBOXES
from magistral_jax.verifiers.workers.pool import MIN_MEMORY_MB
from magistral_jax.weights.role import TRANSPORTS

# The last two put every role in a process of its own; the two lockstep ones are reproducible.
MODES = ('threads', 'lockstep', 'ray', 'ray_lockstep')
ON_CLUSTER = ('ray', 'ray_lockstep')
MIN_TEST_MEMORY_MB = 32   # Of a Python interpreter that does nothing.


@dataclasses.dataclass(frozen=True)
class Limit:
  """What a value must be.

  Limit('a whole number of at least 1', lambda v: type(v) is int and v >= 1)
  """
  words: str
  allows: Any               # value -> bool


def whole(least: int, most: float = math.inf) -> Limit:
  """Whole numbers from `least` to `most`; true and false are none."""
  upper = '' if most == math.inf else f' and at most {most}'
  return Limit(f'a whole number of at least {least}{upper}',
               lambda v: type(v) is int and least <= v <= most)


def number(words: str, allows=lambda v: True) -> Limit:
  """Finite numbers that `allows` takes; `words` says which."""
  return Limit(f'a finite number{words and " " + words}',
               lambda v: type(v) in (int, float) and math.isfinite(v) and allows(v))


def choice(names) -> Limit:
  """One of some names."""
  names = tuple(names)
  return Limit(f'one of {", ".join(names)}', lambda v: v in names)


ANY = number('')
POSITIVE = number('above 0', lambda v: v > 0)
NOT_NEGATIVE = number('of at least 0', lambda v: v >= 0)
SHARE = number('between 0 and 1', lambda v: 0 <= v <= 1)
DECAY = number('of at least 0 and below 1', lambda v: 0 <= v < 1)
NUCLEUS = number('above 0 and at most 1', lambda v: 0 < v <= 1)
FLAG = Limit('true or false', lambda v: type(v) is bool)
TEXT = Limit('text', lambda v: isinstance(v, str))
TOPOLOGY = Limit(
    "'' (this machine) or a TPU slice such as 'v5p:4x4x4' or 'v6e:8x8' (v4, v5e, v5p, v6e, tpu7x)",
    lambda v: isinstance(v, str) and bool(re.fullmatch(
        r'|(v5e|v6e):[1-9]\d*x[1-9]\d*|(v4|v5p|tpu7x):[1-9]\d*x[1-9]\d*x[1-9]\d*', v)))

LIMITS = dict(
    seed=whole(0, 2**31 - 1), total_steps=whole(0),
    tokenizer=dict(kind=choice(TOKENIZERS), path=TEXT),
    data=dict(
        source=choice(SOURCES), max_prompt_tokens=whole(1), template=choice(TEMPLATES),
        system_prompt=TEXT,
        arithmetic=dict(operations=TEXT, min_terms=whole(2), max_terms=whole(2),
                        max_number=whole(0)),
        jsonl=dict(path=TEXT, held_out_path=TEXT, held_out=whole(0)),
        tfds=dict(path=TEXT, held_out=whole(0))),
    model=dict(
        family=choice(FAMILIES), checkpoint=TEXT, layers=whole(1), dim=whole(1), heads=whole(1),
        kv_heads=whole(1), head_dim=whole(2), ffn_dim=whole(1), rope_theta=POSITIVE,
        norm_eps=POSITIVE, tied=FLAG, dtype=choice(DTYPES), vocab=whole(0),
        experts=whole(0), experts_per_token=whole(0),
        vision=choice(VISION),
        tower=dict(layers=whole(1), dim=whole(1), heads=whole(1), head_dim=whole(4),
                   ffn_dim=whole(1), patch=whole(1), side=whole(1), rope_theta=POSITIVE,
                   norm_eps=POSITIVE, merge=whole(1), biases=FLAG, image_token=whole(0))),
    cold_start=dict(
        path=TEXT, steps=whole(0), examples=whole(1), mistakes=SHARE, rows=whole(1),
        learning_rate=NOT_NEGATIVE, warmup_steps=whole(0)),
    sampler=dict(
        slots=whole(1), group_size=whole(2), max_new_tokens=whole(1), temperature=POSITIVE,
        top_p=NUCLEUS, page_tokens=whole(1), pages=whole(0), decode_steps=whole(1)),
    verifiers=dict(
        format=NOT_NEGATIVE, correct=NOT_NEGATIVE, length_max=whole(0), length_cache=whole(0),
        length_penalty=NOT_NEGATIVE, language=NOT_NEGATIVE, language_model=TEXT,
        code_reward=choice(CODE_REWARDS), queue=whole(1), timeout_s=POSITIVE,
        memory_mb=whole(MIN_MEMORY_MB), sandbox=choice(SANDBOXES), code_tests=whole(1),
        test_timeout_s=POSITIVE, test_memory_mb=whole(MIN_TEST_MEMORY_MB)),
    batching=dict(
        prompts_per_batch=whole(1), minibatches=whole(1), max_staleness=whole(0),
        patience_batches=whole(1), row_tokens=whole(1), row_patches=whole(0),
        advantage_norm=choice(ADVANTAGE_NORMS), normalizer=choice(NORMALIZERS)),
    loss=dict(
        name=choice(LOSSES), clip_low=SHARE, clip_high=NOT_NEGATIVE, importance_cap=NOT_NEGATIVE,
        kl_coef=NOT_NEGATIVE, kl_reference=choice(KL_REFERENCES), kl_ema=DECAY, entropy_coef=ANY,
        router_aux_coef=NOT_NEGATIVE, vocab_chunk=whole(0)),
    optimizer=dict(
        name=choice(OPTIMIZERS), learning_rate=NOT_NEGATIVE, warmup_steps=whole(0), beta1=DECAY,
        beta2=DECAY, eps=POSITIVE, weight_decay=NOT_NEGATIVE, clip_norm=NOT_NEGATIVE,
        max_bad_steps=whole(1)),
    trainer=dict(microbatch_rows=whole(1), remat=choice(REMAT), unroll=whole(1)),
    mesh=dict(
        trainer=dict(fsdp=whole(1), expert=whole(1), sequence=whole(1), tensor=whole(1)),
        sampler=dict(expert=whole(1), tensor=whole(1)),
        trainer_topology=TOPOLOGY, sampler_topology=TOPOLOGY),
    evaluation=dict(
        every=whole(0), problems=whole(0), samples=whole(1), temperature=NOT_NEGATIVE,
        top_p=NUCLEUS, max_new_tokens=whole(1)),
    checkpoints=dict(every=whole(0), keep=whole(1)),
    runtime=dict(
        mode=choice(MODES), address=TEXT, trainers=whole(1), samplers=whole(1),
        verifier_hosts=whole(1), verifier_workers=whole(1), deadline_s=POSITIVE,
        heartbeat_s=POSITIVE, restarts=whole(0), transport=choice(TRANSPORTS)),
)


def check_limits(c: Mapping, limits: Mapping = LIMITS, section: str = '') -> None:
  """Raises ValueError for the first key that is missing, unknown or out of its limits."""
  for name in c:
    if name not in limits:
      raise ValueError(f'{section}{name}={c[name]!r} is unknown'
                       f'{did_you_mean(section + name, keys(LIMITS))}: no part of the program '
                       f'reads it, so take it out of the config.')
  for name, limit in limits.items():
    key = section + name
    if name not in c:
      raise ValueError(f'{key} is missing in the config: it must be {_words(limit)}, see '
                       f'configs/quickstart.py.')
    value = c[name]
    if isinstance(limit, Mapping):
      if not hasattr(value, 'keys'):
        raise ValueError(f'{key}={value!r} must be {_words(limit)}.')
      check_limits(value, limit, f'{key}.')
    elif not limit.allows(value):
      raise ValueError(f'{key}={value!r} must be {limit.words}.')


def keys(c: Mapping, section: str = '') -> list[str]:
  """All keys of a config, or of LIMITS: 'seed', ..., 'data.jsonl.path', ..."""
  found = []
  for name, value in c.items():
    found += keys(value, f'{section}{name}.') if hasattr(value, 'items') else [section + name]
  return found


def did_you_mean(key: str, known: list[str]) -> str:
  """', did you mean ...?' in brackets for the likeliest of the known keys; '' if none is like it.

  A key is also found when it was written without its section.
  """
  last = {name.rsplit('.', 1)[-1]: name for name in reversed(known)}
  near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
  near = near or [last[name] for name in difflib.get_close_matches(
      key.rsplit('.', 1)[-1], last, n=1, cutoff=0.75)]
  return f' (did you mean {near[0]}?)' if near else ''


def _words(limit) -> str:
  return f'a section with {", ".join(limit)}' if isinstance(limit, Mapping) else limit.words
