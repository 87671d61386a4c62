"""What a loop is made of: the roles that it joins, the books that it keeps, its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from magistral_jax.batching.role import Batcher
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.roles import Checkpoints, Runtime, Sampler, Trainer, Verifier
from magistral_jax.orchestration.run_stages import RunStages
from magistral_jax.profiling import NO_PROFILE, Profile
from magistral_jax.records import Prompt
from magistral_jax.sampler.slots import Sampling


@dataclasses.dataclass(frozen=True)
class Roles:
  """The parts that the loop joins; roles.py says what each promises."""
  stream: Any               # prompt(ordinal) -> Prompt; data/stream.py: PromptStream.
  samplers: Sequence[Sampler]
  verifier: Verifier
  batcher: Batcher
  trainer: Trainer
  checkpoints: Checkpoints
  runtime: Runtime


@dataclasses.dataclass(frozen=True)
class Books:
  """What keeps account of a run: fates, files and totals, stages, signs of life, the terminal,
  a trace of a few updates.
  """
  ledger: Ledger
  journal: Journal
  stages: RunStages
  health: Health
  display: Display
  profile: Profile = NO_PROFILE     # Of updates.


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a loop runs, from the config."""
  slots: int                        # Sequences that one sampler decodes at once.
  sampling: Sampling                # Of prompts that are trained on.
  evaluation_sampling: Sampling
  evaluation_prompts: Sequence[Prompt]
  evaluation_every: int             # Updates between evaluations; 0: none in the loop.
  checkpoint_every: int             # Updates between checkpoints; 0: none in the loop.
  patience_batches: int             # Batches' worth of groups that may pass without an update.
  parity_limit: float               # Mean gap above which an update warns, in nats.
  # Whether nothing outlives a lost trainer, so that all is sampled again as it was (lockstep);
  # otherwise open completions and groups that wait for a batch stay.
  discard_in_flight: bool = False
