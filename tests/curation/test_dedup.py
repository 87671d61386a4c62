"""The first of several equal problems stays; a pass over all pairs says which those are."""
import itertools
import random
from pathlib import Path

import pytest

from magistral_jax.curation import dedup
from magistral_jax.curation.text import digits, normal
from tests.curation import planted

SAME = lambda one, other: one.strip() == other.strip()


def found(write, rows, threshold=0.7, same=SAME):
  return dedup.find(Path(write('rows.jsonl', rows)), threshold=threshold, same=same)


@pytest.mark.parametrize('seed', [0, 1])
def test_planted_copies_are_found_and_nothing_else(write, seed):
  rows, truth = planted.duplicates(seed)
  dropped = {rows[n]['id']: reason for n, (reason, _) in found(write, rows).items()}
  assert dropped == truth


def test_no_two_rows_that_are_kept_are_duplicates(write):
  """The rule over all pairs, without signatures."""
  rng = random.Random(3)
  rows, _ = planted.duplicates(2, count=60)
  # Copies of copies, in another order.
  rows += [dict(row, id=f'{row["id"]}-again', problem='Well, ' * (n % 2) + row['problem'])
           for n, row in enumerate(rows)]
  rng.shuffle(rows)
  dropped = found(write, rows)
  kept = [row for n, row in enumerate(rows) if n not in dropped]
  for one, other in itertools.combinations(kept, 2):
    assert normal(one['problem']) != normal(other['problem'])
    near = dedup.similarity(dedup.shingles(one['problem']), dedup.shingles(other['problem']))
    same_digits = digits(one['problem']) == digits(other['problem'])
    assert near < 0.7 or not same_digits or one['answer'] != other['answer']
  # And nothing was dropped without a row that it repeats.
  by_name = {row['id']: row for row in rows}
  for number, (reason, first) in dropped.items():
    assert reason in ('duplicate', 'near_duplicate') and first in by_name
    assert rows.index(by_name[first]) < number


def test_duplicates_with_other_answers_all_go(write):
  rows = [dict(id=f'r{n}', problem=f'What is the {"  " * n}sum?', answer=answer)
          for n, answer in enumerate(['5', '5', '6', '5'])]
  rows.append(dict(id='other', problem='What is the product?', answer='6'))
  dropped = found(write, rows)
  assert {n: reason for n, (reason, _) in dropped.items()} == {
      0: 'conflicting_answers', 1: 'duplicate', 2: 'conflicting_answers', 3: 'duplicate'}


def test_answers_are_compared_by_the_verifier(write, comparer):
  rows = [dict(id='a', problem='What is a half?', answer='\\frac{1}{2}'),
          dict(id='b', problem='What is a  half?', answer='0.5')]
  assert found(write, rows, same=comparer.same) == {1: ('duplicate', 'a')}


def test_images_and_programming_languages_make_other_problems(write):
  rows = [dict(id='a', problem='How long is <image>?', answer='1', images=['a.png']),
          dict(id='b', problem='How long is <image>?', answer='1', images=['b.png']),
          dict(id='c', problem='Print 1.', tests=[{'stdin': '', 'stdout': '1'}], language='cpp'),
          dict(id='d', problem='Print 1.', tests=[{'stdin': '', 'stdout': '1'}], language='python'),
          dict(id='e', problem='Print  1.', tests=[{'stdin': '', 'stdout': '1'}], language='cpp')]
  assert found(write, rows) == {4: ('duplicate', 'c')}


def test_a_file_without_rows_has_no_duplicates(write):
  assert found(write, []) == {}


def test_the_step_gives_each_row_its_verdict(write):
  rows, truth = planted.duplicates(0, count=50)
  path = Path(write('rows.jsonl', rows))
  with dedup.opened(workers=1)(path) as decide:
    for number, row in enumerate(rows):
      decision = decide(number, row)
      assert decision.reason == truth.get(row['id'], '')
      assert decision.rows == (() if row['id'] in truth else (row,))
  assert not path.with_suffix('.keys').exists()


def test_signatures_find_what_the_formula_says():
  """1 - (1 - s^5)^25 is 0.99 at 0.7 and falls to 0.06 at 0.3."""
  share = lambda s: 1 - (1 - s ** dedup.ROWS) ** dedup.BANDS
  assert share(0.7) > 0.985 and share(0.8) > 0.9999 and share(0.3) < 0.062
