"""The steps that a command line asks for, by the kind of problem."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from magistral_jax.curation import decontaminate, dedup, format, ledger, pipeline, rates, translate
from magistral_jax.curation.code import agreement, generate, languages, statements
from magistral_jax.curation.code.programs import Runner
from magistral_jax.curation.endpoint import Endpoint, EndpointSettings
from magistral_jax.curation.rows import CurationStep
from magistral_jax.data import files

# The steps of each kind in their order, and what each of them needs a flag for.
STEPS = dict(
    math=('format', 'dedup', 'decontaminate', 'difficulty', 'labels'),
    code=('format', 'dedup', 'decontaminate', 'agreement', 'generate', 'enough', 'difficulty',
          'languages'),
    translate=('translate',))
NEEDS = dict(decontaminate='against', difficulty='rates', labels='rates')
# Flags that choose where and how fast a curation runs, and not what it makes.
_PLACE = ('output', 'workers', 'endpoint', 'endpoint_concurrency', 'endpoint_timeout_s',
          'endpoint_attempts')
_PER_WORKER = 4             # Rows that wait for one worker of the pool at once.


def chosen(args: argparse.Namespace) -> tuple[str, ...]:
  """The steps of a command line: those of --steps, or all that it has the files for.

  Raises:
    ValueError: a step that there is not or that stands twice, or one whose file is missing.
  """
  known = STEPS[args.kind]
  names = tuple(filter(None, (args.steps or '').split(',')))
  if not names:
    return tuple(n for n in known if n not in NEEDS or getattr(args, NEEDS[n]))
  for name in names:
    if name not in known:
      raise ValueError(f'--steps: there is no step {name!r} for {args.kind}; known are '
                       f'{", ".join(known)}.')
    if names.count(name) > 1:
      raise ValueError(f'--steps: {name} stands twice.')
    if name in NEEDS and not getattr(args, NEEDS[name]):
      raise ValueError(f'--steps: {name} needs --{NEEDS[name]}.')
  return names


def build(args: argparse.Namespace) -> list[CurationStep]:
  """The steps of a command line, checked and ready to be opened."""
  workers = args.workers or pipeline.processors()
  endpoint = _endpoint(args)
  if args.kind == 'translate' and endpoint is None:
    raise ValueError('translate needs --endpoint: the URL of an OpenAI-compatible server.')
  makers, threads = dict(
      math=_math, code=_code, translate=_translate)[args.kind](args, workers, endpoint)
  return [CurationStep(name, makers[name](), threads.get(name, 1)) for name in chosen(args)]


Makers = tuple[Mapping[str, Callable[[], Callable]], Mapping[str, int]]


def _shared(args, workers: int) -> dict[str, Callable[[], Callable]]:
  return dict(
      dedup=lambda: dedup.opened(args.near, workers),
      decontaminate=lambda: decontaminate.opened(
          args.against, n=args.ngram, common=args.common, overlap=args.overlap),
      difficulty=lambda: rates.difficulty(
          rates.read(args.rates), min_rate=args.min_rate, max_rate=args.max_rate))


def _math(args, workers: int, endpoint: Endpoint | None) -> Makers:
  asking = args.endpoint_concurrency if endpoint else 0
  return _shared(args, workers) | dict(
      format=lambda: format.opened(endpoint, workers),
      labels=lambda: rates.labels(rates.read(args.rates), majority=args.majority,
                                  workers=workers)), dict(
      format=max(_PER_WORKER * workers, asking), labels=_PER_WORKER * workers)


def _code(args, workers: int, endpoint: Endpoint | None) -> Makers:
  runner = Runner(time_s=args.test_timeout_s, memory_mb=args.test_memory_mb, mode=args.sandbox)
  votes = dict(agreement=args.agreement, voters=args.voters, most_solutions=args.most_solutions)
  return _shared(args, workers) | dict(
      format=lambda: statements.opened,
      agreement=lambda: agreement.opened(runner, **votes),
      generate=lambda: generate.opened(runner, endpoint, wanted=args.wanted_tests, **votes),
      enough=lambda: languages.enough(args.min_tests),
      languages=lambda: languages.opened), dict(agreement=workers, generate=workers)


def _translate(args, workers: int, endpoint: Endpoint | None) -> Makers:
  del workers
  return dict(translate=lambda: translate.opened(
      endpoint, share=args.share, into=args.languages.split(','), seed=args.seed)), dict(
      translate=args.endpoint_concurrency)


def _endpoint(args) -> Endpoint | None:
  if not args.endpoint:
    return None
  return Endpoint(EndpointSettings(
      args.endpoint, args.model, concurrency=args.endpoint_concurrency,
      timeout_s=args.endpoint_timeout_s, attempts=args.endpoint_attempts,
      max_tokens=args.endpoint_max_tokens))


def settings(args: argparse.Namespace) -> dict[str, Any]:
  """What makes a curation what it is: its flags, and the content of its files."""
  found = {key: value for key, value in vars(args).items() if key not in _PLACE}
  found['endpoint'] = bool(args.endpoint)
  found['steps'] = list(chosen(args))
  for key in ('input', 'against', 'rates'):
    if paths := getattr(args, key, None):
      found[f'{key}_content'] = [ledger.fingerprint(path)
                                 for path in files.expand(paths, f'--{key}')]
  return found
