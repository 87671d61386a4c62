r"""Whatever stands in a box, it is judged: no exception, no blame for the gold, no wrong credit.

Boxes are drawn with seeds (tests/fuzz/boxes.py); tests/fuzz/test_boxes.py has many more of them.
"""
import random
import time

import pytest

from magistral_jax.verifiers import language, reward
from magistral_jax.verifiers.math import equivalence, symbolic
from tests.fuzz import boxes

REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.0, code_reward='all')
BOXES, VALUES = 2000, 600
CPU_S = 1.5              # verifiers.timeout_s of the configs.


def score(box, gold, problem):
  job = dict(response=f'<think>a</think>\\boxed{{{box}}}', answer=gold, domain='math', n_tokens=1,
             language='en', problem=problem)
  return reward.score(job, **REWARDS)


def check_boxes(seeds):
  """Fails for the first box that is not judged, or not in time, beside a gold that is fine."""
  symbolic.preload()
  for seed in seeds:
    box, gold = boxes.box(seed), boxes.GOLDS[seed % len(boxes.GOLDS)]
    began = time.process_time()
    status, detail = equivalence.check(box, gold)
    verdict = score(box, gold, f'What is {boxes.box(seed + 1)} or {box}?')
    assert time.process_time() - began < 2 * CPU_S, (seed, box, gold)
    assert status in ('correct', 'wrong', 'unparsable'), (seed, box, gold, detail)
    assert not detail.startswith(equivalence.FAILED), (seed, box, gold, detail)
    assert verdict.status in ('correct', 'wrong', 'unparsable', 'bad_format'), (seed, box, gold)
    assert equivalence.FAILED not in verdict.detail, (seed, box, gold, verdict.detail)


def check_values(seeds):
  """Fails for the first value that is paid though it differs, or is not paid though it does not."""
  for seed in seeds:
    rng = random.Random(f'value {seed}')
    text, value = boxes.valued(rng, rng.randint(0, 3))
    gold = str(value.numerator) if value.denominator == 1 else (
        rf'\frac{{{value.numerator}}}{{{value.denominator}}}')
    same, other = (rng.choice(p).replace('%s', text) for p in (boxes.SAME, boxes.OTHER))
    assert equivalence.check(same, gold)[0] == 'correct', (seed, same, gold)
    assert equivalence.check(gold, same)[0] == 'correct', (seed, same, gold)
    assert equivalence.check(other, gold)[0] != 'correct', (seed, other, gold)
    another, different = boxes.valued(rng, 2)
    if different != value:
      assert equivalence.check(another, gold)[0] != 'correct', (seed, another, gold)


def test_any_text_is_paid_or_not_for_its_language():
  identify, rewards = language.load(), REWARDS | dict(language=0.1)
  for seed in range(300):
    thoughts, answer = boxes.box(seed), boxes.box(seed + 1)
    job = dict(response=f'<think>{thoughts * 20}</think>{answer} \\boxed{{5}}', answer='5',
               domain='math', n_tokens=1, language='en', problem=boxes.box(seed + 2))
    verdict = reward.score(job, identify=identify, **rewards)
    assert verdict.status in ('correct', 'wrong', 'bad_format', 'unparsable'), (seed, verdict)
    assert 0 <= verdict.reward <= 1.1


@pytest.mark.parametrize('gold', boxes.GOLDS)
def test_the_golds_are_fine(gold):
  assert equivalence.check(gold, gold) == ('correct', '')
  assert equivalence.check(r'\sqrt{7919}', gold)[0] == 'wrong'


def test_any_box_is_judged_and_none_is_blamed_on_the_gold():
  check_boxes(range(BOXES))


def test_values_are_paid_if_they_are_equal_and_only_then():
  check_values(range(VALUES))
