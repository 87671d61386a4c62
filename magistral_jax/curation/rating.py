"""The model whose solve rates are wanted: a checkpoint in this process, or one that is served."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

from magistral_jax.curation.endpoint import Endpoint, EndpointSettings
from magistral_jax.curation.ledger import fingerprint
from magistral_jax.curation.served_sampler import ServedSampler, problem_asker, served_prompt
from magistral_jax.data import files
from magistral_jax.data.jsonl import read_object
from magistral_jax.data.stream import make_prompt
from magistral_jax.experiment import build, sampler_only, values
from magistral_jax.metrics import JsonlWriter
from magistral_jax.models.formats import checkpoint
from magistral_jax.records import Problem, Prompt
from magistral_jax.sampler.slots import Sampling

# Keys and sections of a config that a rate depends on, beside those of a sampler.
_READ = ('sampler.temperature', 'sampler.top_p', 'verifiers', 'evaluation.code_tests',
         'runtime.verifier_workers')
_READ_OF_SERVED = (*_READ, 'seed', 'data.max_prompt_tokens', 'data.template', 'data.system_prompt',
                   'model.dtype', 'sampler.max_new_tokens', 'runtime.deadline_s')


@dataclasses.dataclass(frozen=True)
class RatedModel:
  """How a model is asked.

  RatedModel(prompt=make_prompt, samplers=lambda: [...], deadline_s=300.0, step='40')
  """
  prompt: Callable[[int, Problem], Prompt]
  samplers: Callable[[], Sequence[Any]]    # Loads the weights; called once.
  deadline_s: float                        # So long nothing may come of it.
  step: str = ''                           # Of a run's checkpoint.


def loaded(c, path: str, step: str) -> RatedModel:
  """The model of a checkpoint; raises ValueError as `sampler_only.prepare`.

  Args:
    step: checkpoint of a workdir: newest, best or a number.
  """
  parts = sampler_only.prepare(c, path, _READ)
  step = checkpoint.choose_step(path, step)
  prompt = functools.partial(make_prompt, tokenizer=parts.tokenizer, purpose='evaluation',
                             **build.rendering(c, parts.config))
  return RatedModel(prompt, lambda: build.loaded_samplers(c, parts, step),
                    c.runtime.deadline_s, step)


def served(c, args: argparse.Namespace) -> RatedModel:
  """The model behind --endpoint. Raises ValueError for settings that cannot work."""
  sampler_only.check(c, _READ_OF_SERVED)
  endpoint = Endpoint(EndpointSettings(
      args.endpoint, args.model, concurrency=args.endpoint_concurrency,
      timeout_s=args.endpoint_timeout_s, attempts=args.endpoint_attempts,
      max_tokens=c.sampler.max_new_tokens, temperature=c.sampler.temperature,
      top_p=c.sampler.top_p))
  return RatedModel(served_prompt, lambda: [ServedSampler(
      problem_asker(endpoint, c.data.system_prompt), seed=c.seed,
      slots=args.endpoint_concurrency)], max(c.runtime.deadline_s, endpoint.longest_s))


def sampling(c, samples: int) -> Sampling:
  """As completions are sampled in training: a rate says what a problem can teach there."""
  return Sampling(samples, c.sampler.temperature, c.sampler.top_p, c.sampler.max_new_tokens)


def settings(c, args: argparse.Namespace, step: str) -> dict[str, Any]:
  """What makes a rates file what it is, as plain JSON."""
  return dict(
      input=[fingerprint(path) for path in files.expand(args.input)], fields=args.fields,
      model=args.model or args.checkpoint, step=step, dtype=c.model.dtype, seed=c.seed,
      weight_dtype=c.sampler.weight_dtype, kv_dtype=c.sampler.kv_dtype,
      sampling=dataclasses.asdict(sampling(c, args.samples)),
      template=c.data.template, system_prompt=c.data.system_prompt,
      verifiers=values.filled(c, 'verifiers'),
      code_tests=values.filled(c, 'evaluation')['code_tests'], completions=args.completions)


def completions_file(path: str, done: Set[str]) -> JsonlWriter:
  """The file of --completions, cut back to the problems that have their rates.

  The completions of a problem are written before its rates, so that only those of the last one can
  be there without them.

  Raises:
    ValueError: it cannot be written, or there is none where some problems are done.
  """
  if done and not os.path.isfile(path):
    raise ValueError(f'--completions={path!r} is missing, and {len(done)} problems have their '
                     f'rates already: put it back, or begin with another --output.')
  try:
    out, end = JsonlWriter(path), 0
    with open(path, 'rb') as file:
      for line in file:
        if not line.endswith(b'\n') or read_object(line).get('id') not in done:
          break
        end += len(line)
    out.truncate(end)
  except OSError as error:
    raise ValueError(f'--completions={path!r} cannot be written ({error.strerror}): name another '
                     f'file.') from None
  return out


def prompts(problems: Sequence[Problem], done: Set[str], make: Callable[[int, Problem], Prompt],
            most_tokens: int, long: list[str]) -> Iterator[Prompt]:
  """The prompts of the problems that are not done, numbered by their lines.

  What is drawn for a problem does not depend on interruptions.

  Args:
    done: ids of problems.
    most_tokens: problems with longer prompts are left out.
    long: gets their ids.
  """
  for number, problem in enumerate(problems):
    if problem.id not in done:
      prompt = make(-1 - number, problem)
      if len(prompt.tokens) > most_tokens:
        long.append(problem.id)
      else:
        yield prompt
