"""No row that shares words with an evaluation stays, by a count that uses no hashes."""
import collections

import pytest

from magistral_jax.curation import decontaminate
from magistral_jax.curation.text import normal, words
from tests.curation import planted


def verdicts(write, rows, evaluation, **settings):
  from pathlib import Path
  step = decontaminate.opened([write('evaluation.jsonl', evaluation)], **settings)
  with step(Path(write('rows.jsonl', rows))) as decide:
    return {row['id']: decide(n, row).reason for n, row in enumerate(rows)}


def by_hand(rows, evaluation, n, common):
  """The rule of the module, word by word."""
  text = lambda row: row.get('problem') or row.get('question') or row.get('prompt')
  grams = lambda row: {tuple(found[i:i + n]) for found in [words(text(row))]
                       for i in range(len(found) - n + 1)}
  distinct = list({normal(text(e)): e for e in reversed(evaluation)}.values())
  count = collections.Counter(g for row in [*rows, *distinct] for g in grams(row))
  found = {}
  for row in rows:
    own = grams(row)
    rare = {g for g in own if not common or count[g] < common}
    found[row['id']] = any(
        normal(text(row)) == normal(text(e)) or words(text(row)) == words(text(e))
        or rare & grams(e) or (grams(e) and len(own & grams(e)) >= len(grams(e)) / 2)
        for e in distinct)
  return found


@pytest.mark.parametrize('seed', [0, 1])
def test_planted_leaks_are_found_and_nothing_else(write, seed):
  rows, evaluation, bad = planted.contaminated(seed)
  found = verdicts(write, rows, evaluation)
  assert {name for name, reason in found.items() if reason} == bad


@pytest.mark.parametrize('n, common', [(13, 3), (13, 0), (5, 4), (1, 2)])
def test_the_step_follows_its_rule(write, n, common):
  rows, evaluation, _ = planted.contaminated(5, count=40)
  found = verdicts(write, rows, evaluation, n=n, common=common)
  assert {name: bool(reason) for name, reason in found.items()} == by_hand(
      rows, evaluation, n, common)


def test_common_phrases_say_nothing(write):
  phrase = 'where m and n are relatively prime positive integers that you find and add'
  rows = [dict(id=f'r{n}', problem=f'Problem {n}: the value is m/n, {phrase}.') for n in range(6)]
  evaluation = [dict(problem=f'Something long and altogether different is m/n, {phrase}. '
                             'And this evaluation goes on for some more words of its own.')]
  assert set(verdicts(write, rows, evaluation).values()) == {''}
  assert set(verdicts(write, rows, evaluation, common=0).values()) == {'shared_words'}


def test_a_share_of_the_words_can_be_asked_for(write):
  text = ' '.join(f'word{n}' for n in range(40))
  rows = [dict(id='piece', problem=' '.join(text.split()[:14]) + ' and something else'),
          dict(id='whole', problem=f'Ask: {text}')]
  evaluation = [dict(prompt=text)]
  assert verdicts(write, rows, evaluation, common=0) == dict.fromkeys(
      ('piece', 'whole'), 'shared_words')
  assert verdicts(write, rows, evaluation, overlap=0.5) == dict(piece='', whole='shared_words')


def test_short_statements_are_compared_whole(write):
  rows = [dict(id='a', problem='Compute  $2+2$'), dict(id='b', problem='Compute $2+2$ and $3$.')]
  assert verdicts(write, rows, [dict(question='Compute $2 + 2$.')]) == dict(
      a='same_statement', b='')


@pytest.mark.parametrize('settings, words_said', [
    (dict(n=0), '--ngram=0'), (dict(common=-1), '--common=-1'), (dict(overlap=2.0), 'overlap=2.0')])
def test_settings_that_cannot_work(write, settings, words_said):
  with pytest.raises(ValueError, match=words_said):
    decontaminate.opened([write('e.jsonl', [dict(problem='x')])], **settings)


def test_evaluations_must_have_statements(write):
  with pytest.raises(ValueError, match='line 1: --against needs'):
    decontaminate.opened([write('e.jsonl', [dict(text='x')])])
  with pytest.raises(ValueError, match='does not exist'):
    decontaminate.opened(['nowhere.jsonl'])
