"""The table of benchmarks, and the suites of the three papers."""

from __future__ import annotations

import dataclasses
import itertools

from magistral_jax.command_line import did_you_mean
from magistral_jax.evaluation.benchmarks import (
    aider_polyglot,
    aime24,
    aime24_multilingual,
    aime25,
    arc_challenge,
    arc_easy,
    bfcl,
    bfcl_multi_turn,
    chartqa,
    docvqa,
    gpqa_diamond,
    gsm8k,
    hellaswag,
    hle_text,
    humaneval,
    humaneval_plus,
    ifeval,
    livecodebench_v5,
    livecodebench_v6,
    math,
    math500,
    mathvista,
    mbpp,
    mbpp_plus,
    mgsm,
    mm_mt_bench,
    mmlu,
    mmmu,
    mmmu_pro,
    piqa,
    vqav2,
    winogrande,
)
from magistral_jax.evaluation.card import Card

CARDS: dict[str, Card] = {module.CARD.name: module.CARD for module in (
    aime24, aime25, math500, gpqa_diamond, humaneval, humaneval_plus, mbpp, mbpp_plus, mgsm,
    aime24_multilingual, ifeval, bfcl, bfcl_multi_turn, livecodebench_v5, livecodebench_v6, gsm8k,
    math, mmmu, mmmu_pro, mathvista, chartqa, docvqa, vqav2, mmlu, hellaswag, winogrande, piqa,
    arc_easy, arc_challenge, hle_text, mm_mt_bench, aider_polyglot)}

# What tables 2 to 4 and 6 and figure 10 of arXiv:2506.10910 have, and those of the other two papers
# (tables 2 and 3 of arXiv:2410.07073, table 2 of arXiv:2401.04088) where they are cards.
SUITES: dict[str, tuple[str, ...]] = dict(
    magistral=('aime24', 'aime25', 'math500', 'gpqa_diamond', 'livecodebench_v5',
               'livecodebench_v6', 'aider_polyglot', 'hle_text', 'aime24_multilingual', 'ifeval',
               'bfcl', 'mmmu', 'mmmu_pro', 'mathvista'),
    pixtral=('mathvista', 'mmmu', 'chartqa', 'docvqa', 'vqav2', 'mm_mt_bench', 'mmlu', 'math',
             'humaneval'),
    mixtral=('mmlu', 'hellaswag', 'winogrande', 'piqa', 'arc_easy', 'arc_challenge', 'humaneval',
             'mbpp', 'gsm8k', 'math'))


# Published as one benchmark of several parts.
PARTS: dict[str, tuple[str, ...]] = dict(arc=('arc_easy', 'arc_challenge'))


def chosen(names: str, suite: str) -> list[Card]:
  """The cards that --benchmark and --suite name, each once; ValueError for an unknown one.

  Those of a suite are sampled as its paper does; `arc` is both of its cards.
  """
  if suite and suite not in SUITES:
    raise ValueError(f'--suite={suite!r} is unknown{did_you_mean(suite, SUITES)}: it must be one '
                     f'of {", ".join(SUITES)}.')
  found: dict[str, Card] = {}
  asked = [*filter(None, map(str.strip, names.split(','))), *SUITES.get(suite, ())]
  for name in itertools.chain.from_iterable(PARTS.get(name, (name,)) for name in asked):
    if name not in CARDS:
      raise ValueError(f'--benchmark={name!r} is unknown{did_you_mean(name, CARDS)}: it must be '
                       f'one of {", ".join(CARDS)}.')
    card = CARDS[name]
    found[name] = dataclasses.replace(card, sampling=card.suites.get(suite, card.sampling))
  return list(found.values())
