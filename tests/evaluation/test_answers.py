"""What is read out of responses and how answers are compared, against published code."""
import collections
import gzip
import json
import random
import time
from pathlib import Path

import pytest

from magistral_jax.evaluation import estimators
from magistral_jax.evaluation.benchmarks import mgsm
from magistral_jax.evaluation.visual import mmmu, relaxed, similarity, vqa
from magistral_jax.verifiers.code import compare

CASES = collections.defaultdict(list)
for _name, _arguments, _result in json.loads(gzip.decompress(
    (Path(__file__).parent.parent / 'golden/answers.json.gz').read_bytes()))['cases']:
  CASES[_name].append((_arguments, _result))


def scored_mgsm(text, word, target):
  read = mgsm.number(text, word)
  return read == target.replace(',', '') if read else None


OURS = dict(
    final_answer=relaxed.final_answer, is_right=relaxed.is_right,
    is_right_anywhere=lambda text, references: relaxed.is_right(text, references, relaxed.ANYWHERE),
    relaxed_match=relaxed.relaxed_match, match=vqa.match, anls=similarity.anls,
    accuracy=vqa.accuracy, edit_distance=similarity.edit_distance, letter=mmmu.letter,
    open_answers=lambda text: sorted(map(repr, mmmu.open_answers(text))),
    is_open_answer=lambda references, text: mmmu.is_open_answer(
        mmmu.open_answers(references), text),
    mgsm=scored_mgsm, pass_at_k=estimators.pass_at_k,
    same_lines=lambda found, expected: compare.same_output(
        found.encode(), expected, checker='lines', tolerance=0.0)[0])


@pytest.mark.parametrize('name', sorted(set(CASES) - {'is_right_anywhere'}))
def test_as_published(name):
  assert len(CASES[name]) > 90
  for arguments, result in CASES[name]:
    ours = OURS[name](*arguments)
    wanted = result if result is None else pytest.approx(result) if isinstance(
        result, float) else result
    assert ours == wanted, arguments


def test_anywhere_as_published_but_for_capitals():
  # The published code looks for the reference in lower case, in the response as it is.
  cases = CASES['is_right_anywhere']
  other = [(text, references) for (text, references), wanted in cases
           if OURS['is_right_anywhere'](text, references) != bool(wanted)]
  assert len(cases) > 600 and len(other) == 11
  for text, references in other:
    assert text != text.lower() and relaxed.is_right(text, references, relaxed.ANYWHERE)


@pytest.mark.parametrize('text, reference, right', [
    ('The right choice is A', 'A', True), ('This is a chart.', 'A', False),
    ('It must be B.', 'B', True), ('to be.', 'B', False), ('The bar is Red.', 'red', True),
    ('THE BARS ARE RED', 'Red', True), ('Redder', 'red', False)])
def test_anywhere_is_for_letters_as_they_are_and_for_words_in_any_case(text, reference, right):
  assert relaxed.is_right(text, [reference], relaxed.ANYWHERE) is right


@pytest.mark.parametrize('text, levels', [
    ('So.\nFinal Answer: 12', '1111'), ('So. final answer:\n 12.0 ', '1111'),
    ('Answer: 12', '0111'), ('The answer: 12%', '0111'), ('**Final Answer**: 12', '0011'),
    ('*Answer:* **12**', '0111'), ('It is 12', '0001'), ('Final Answer: 13, not 12', '0000'),
    ('', '0000'), ('Final Answer:', '0000')])
def test_levels_of_reading(text, levels):
  found = [relaxed.is_right(text, ['12'], level) for level in relaxed.LEVELS]
  assert found == [level == '1' for level in levels]


def test_a_long_first_letter_does_not_move_the_answer():
  # The published code looks in the text in lower case, in which this letter is two.
  assert relaxed.final_answer('İİ Answer: 12') == '12'


def test_edit_distance_is_that_of_the_table():
  draw = random.Random(0)
  for _ in range(300):
    a, b = (''.join(draw.choices('abc', k=draw.randrange(9))) for _ in range(2))
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
      row, last = [i + 1], row
      for j, y in enumerate(b):
        row.append(min(last[j] + (x != y), last[j + 1] + 1, row[j] + 1))
    assert similarity.edit_distance(a, b) == row[-1]


def test_a_threshold_of_anls():
  assert similarity.anls('abcd', ['abxy'], 0.5) == 0.5
  assert similarity.anls('abcd', ['axyz'], 0.5) == 0.0
  assert similarity.anls('', ['']) == 1.0


@pytest.mark.parametrize('piece', [
    '1', '1,', '1e', '-', '.', '. ', 'is ', 'A ', '(', '"', "'", ' ', '%', '\n', '\x00', '\ud800',
    'answer**', 'Answer: ', '٣', '1.', '$', 'a/', '{'])
@pytest.mark.parametrize('size', [1000, pytest.param(1 << 20, marks=pytest.mark.long)])
def test_every_response_has_a_verdict_soon(piece, size):
  text, choices = (piece * size)[:size], dict(A='x', B='', C='12')
  start = time.process_time()
  for level in relaxed.LEVELS:
    assert type(relaxed.is_right(text, ['12', 'a', '1e999', ''], level)) is bool
  assert 0 <= similarity.anls(text, ['12 of them', '']) <= 1
  assert 0 <= vqa.match(text, ['a'] * 10) <= 1 and 0 <= vqa.accuracy(text, ['a'] * 10) <= 1
  assert mmmu.letter(text, choices) in {'', *choices}
  assert type(mmmu.is_open_answer(mmmu.open_answers(text), ['12', 'ab'])) is bool
  assert time.process_time() - start < 20
