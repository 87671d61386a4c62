"""A server made of a config and a checkpoint."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from magistral_jax import sharding
from magistral_jax.evaluation.scoring import Scorer
from magistral_jax.experiment import build, sampler_only
from magistral_jax.models.formats import checkpoint
from magistral_jax.profiling import NO_PROFILE, Profile
from magistral_jax.records import Problem, Prompt, WeightSnapshot
from magistral_jax.sampler.engine import Engine
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from magistral_jax.serving import dates, server
from magistral_jax.serving.api import Api, RequestLimits
from magistral_jax.serving.control import Loaded, ServedWeights, check_finite, loader
from magistral_jax.serving.host import SamplerHost
from magistral_jax.serving.measures import Measures
from magistral_jax.serving.queries import MOST_ALTERNATIVES, ServedModel
from magistral_jax.serving.scores import ScoringThread
from magistral_jax.serving.server import DrainingServer


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
  """A sampler with its weights, not yet served."""
  model: ServedModel
  engine: Engine
  sampler: EngineSampler
  scorer: Scorer
  loaded: Loaded
  load: Callable[[str, str], tuple[str, Any]]    # Other parameters, as `control.loader`.


def load(c, path: str, step: str, name: str) -> Opened:
  """Loads the checkpoint at `path` into a sampler; raises ValueError as `sampler_only.prepare`.

  Args:
    step: checkpoint of a workdir: newest, best or a number.
    name: by which clients ask for the model; '' for that of the checkpoint's folder.
  """
  parts = sampler_only.prepare(c, path)
  step, config, mesh = checkpoint.choose_step(path, step), parts.config, parts.meshes.samplers[0]
  ids = build.end_ids(c, parts.tokenizer)
  # A request may ask for a nucleus: the vocabulary is sorted in the steps in which one does.
  engine = build.engine(c, config, mesh, ids, nucleus=True, routes=False,
                        alternatives=MOST_ALTERNATIVES)
  params = build.sampler_params(c, config, mesh, step=step)
  check_finite(params)
  # Texts are made where requests are answered.
  sampler = EngineSampler(engine, WeightSnapshot(0, params), decode=lambda ids: '', end_ids=ids)
  model = ServedModel(
      name or os.path.basename(os.path.normpath(path)), parts.tokenizer, c.data.template, config,
      longest=engine.slot_pages * engine.page_tokens, end_ids=ids)
  scorer = Scorer(config, None, mesh, sharding.SAMPLER)     # The thread that scores has them.
  return Opened(model, engine, sampler, scorer, Loaded(0, path, step, dates.now()),
                loader(config, mesh, c.sampler.weight_dtype))


def warm_up(opened: Opened, compiled: Callable[[int], None] = lambda tokens: None) -> None:
  """Compiles all that samples texts, so that no request waits for it.

  Args:
    compiled: called with each length of prompts that is ready.
  """
  sampler, size = opened.sampler, opened.engine.page_tokens
  while True:
    # All tokens but the last are written by the prefill of their bucket.
    tokens = min(size + 1, opened.model.longest - 1)
    sampler.submit(Prompt(0, Problem('', '', '', 'warm up'), np.zeros(tokens, np.int32)),
                   Sampling(1, 0.0, 1.0, 1))
    while sampler.open:
      sampler.step()
    compiled(size)
    if size >= tokens:
      break
    size *= 2
  sampler.counts.clear()


def serve(opened: Opened, *, queue: int, limits: RequestLimits, key: str,
          drain_s: float, profile: Profile = NO_PROFILE, ready: Callable[[], None] = lambda: None,
          draining_began: Callable[[int], None] = lambda requests: None
          ) -> tuple[DrainingServer, SamplerHost]:
  """A server of a sampler, to be run on a socket, and the host behind it.

  Args:
    queue: completions that may wait for a slot.
    key: as in `Api`.
    drain_s: seconds that open requests have when it is to end.
    profile: of the dispatches.
    ready, draining_began: as in `DrainingServer`.
  """
  engine, sampler = opened.engine, opened.sampler

  def failed(error: Exception) -> None:
    del error      # Whoever runs the server finds it in host.failure.
    found.should_exit = True

  host = SamplerHost(sampler, slots=engine.slots, queue=queue, failed=failed,
                     profile=profile)
  scoring = ScoringThread(opened.scorer, lambda: sampler.snapshot.params,
                          most_waiting=host.most_open)
  measures = Measures(host, slots=engine.slots, pages=engine.pages - 1,
                      scoring=lambda: scoring.waiting)
  weights = ServedWeights(host, opened.load, opened.loaded)
  api = Api(opened.model, host, scoring, weights, measures, limits, key=key,
            draining=lambda: found.draining)
  found = server.make(api.app, drain_s=drain_s, ready=ready, draining_began=draining_began,
                      expired=host.end_all)
  return found, host
