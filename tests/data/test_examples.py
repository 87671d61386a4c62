"""Examples of the cold start: each once an epoch, conversations in their share, nothing held."""
import collections
import gzip
import json
import logging
import tracemalloc

import numpy as np
import pytest

from magistral_jax.data.examples import Examples
from magistral_jax.data.lines import Lines
from magistral_jax.data.traces import Conversations, Example, FileTraces, Joined


def make(example):
  """As many tokens as the response has letters."""
  return [1], range(len(example.response)), ()


def examples(traces, conversations=(), *, share=0.0, most=10**6, fault=lambda e: '', row_tokens=50,
             seed=0, weighted=()):
  return Examples(traces, conversations, most=most, share=share, make=make, fault=fault,
                  row_tokens=row_tokens, row_patches=0, seed=seed, weighted=weighted)


def some(count, letter='x'):
  return [Example(letter * (1 + i % 7), where=f'{letter}{i}') for i in range(count)]


@pytest.mark.parametrize('share', [0.0, 0.1, 0.25, 0.5, 0.9])
def test_an_epoch_has_every_trace_once_and_the_share_of_conversations(share):
  found = examples(some(90), some(37, 'c'), share=share)
  said = collections.Counter()
  for number in range(8):
    epoch = found.epoch(number)
    counts = collections.Counter(epoch)
    assert all(counts[i] == 1 for i in range(90))
    extra = [i for i in epoch if i >= 90]
    assert abs(len(extra) / len(epoch) - share) < 1 / len(epoch)
    said.update(extra)
  # None is seen again before all have been seen.
  assert not said or max(said.values()) - min(said[90 + i] for i in range(37)) <= 1
  assert found.epoch(0) != found.epoch(1)
  assert found.epoch(3) == examples(some(90), some(37, 'c'), share=share).epoch(3)
  assert found.epoch(3) != examples(some(90), some(37, 'c'), share=share, seed=1).epoch(3)


@pytest.mark.parametrize('count, weight', [(5, 0.5), (3, 0.1), (2, 0.2), (7, 1.3), (10, 0.34)])
def test_a_weight_holds_over_epochs_however_few_traces_a_file_has(count, weight):
  found = examples(some(count), some(3, 'c'), share=0.01, weighted=[(count, weight)])
  epochs = [collections.Counter(found.epoch(number)) for number in range(100)]
  total = sum(epochs, collections.Counter())
  assert [round(total[i] / 100, 2) for i in range(count)] == [weight] * count
  said = sum(total[i] for i in range(count, count + 3))
  assert 0 <= said - 100 * count * weight / 99 < 1 and epochs[0]


def test_most_limits_the_traces_and_the_seed_draws_them():
  few = lambda seed: [len(examples(some(90), some(5, 'c'), share=0.5, most=20, seed=seed)),
                      examples(some(90), most=20, seed=seed).lengths.tolist()]
  assert few(0) == few(0) != few(1) and few(0)[0] == 25


def test_what_does_not_fit_or_would_not_pay_is_left_out_and_said(caplog):
  fault = lambda example: 'no box' if example.where in ('x3', 'x4', 'x5', 'x8') else ''
  with caplog.at_level(logging.WARNING):
    found = examples(some(20), row_tokens=5, fault=fault)
  assert sorted(found.lengths.tolist()) == sorted(
      n for i in range(20) if (n := 1 + i % 7) <= 5 and i not in (3, 4, 5, 8))
  assert [len(found[i][1]) for i in range(len(found))] == found.lengths.tolist()
  assert '4 examples of the cold start would earn nothing' in caplog.text
  assert 'x3: no box. x4: no box. x5: no box.' in caplog.text and 'x8' not in caplog.text
  with pytest.raises(ValueError, match='row_tokens=2 is too short for every one of the 3 .* of 5'):
    examples(some(7)[4:], row_tokens=2)
  with pytest.raises(ValueError, match='None of the 3 cold-start examples .*: x0: why. x1: why. x'):
    examples(some(3), fault=lambda e: 'why')


def test_sequences_are_joined():
  joined = Joined([some(3), [], some(2, 'y')])
  assert [e.where for e in joined] == ['x0', 'x1', 'x2', 'y0', 'y1'] and len(joined) == 5
  with pytest.raises(IndexError):
    joined[5]


@pytest.mark.parametrize('packed', [False, True])
def test_lines_are_read_again_where_they_stand(tmp_path, packed):
  path = tmp_path / 'a.jsonl'
  text = 'é1\n\n{"b": 2}\n3'.encode()
  path.write_bytes(gzip.compress(text) if packed else text)
  lines = Lines([str(path)] * 2, lambda path, number, line: [7, 8] if number == 3 else [0])
  assert [(number, line.strip(), which) for _, number, line, which in lines] == [
      (1, 'é1'.encode(), 0), (3, b'{"b": 2}', 7), (3, b'{"b": 2}', 8), (4, b'3', 0)] * 2


def test_files_are_not_held_in_memory(tmp_path):
  """20 MB of traces and conversations take less than a twentieth of that."""
  long = 'It is so. ' * 1000
  trace = dict(problem='1+1?', answer='2', response=f'<think>{long}</think>\\boxed{{2}}')
  talk = dict(messages=[dict(role='user', content='Hi'), dict(role='assistant', content=long)])
  for name, row in (('a', trace), ('b', talk)):
    line = json.dumps(row) + '\n'
    (tmp_path / f'{name}.jsonl').write_text(line * (10**7 // len(line)))
  tracemalloc.start()
  found = examples(FileTraces(str(tmp_path / 'a.jsonl'), fields=''),
                   Conversations(str(tmp_path / 'b.jsonl')), share=0.1, row_tokens=10**6)
  epoch = found.epoch(0)
  held, _ = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert len(found) > 1900 and len(epoch) > 1000 and held < 10**6
  assert np.all(found.lengths > 9000)


def test_a_file_without_solutions_names_its_key(write):
  path = write('a.jsonl', [dict(problem='?', answer='1')])
  with pytest.raises(ValueError, match=r'None of the problems in .*"response".* set cold_start'):
    FileTraces(path, fields='')
  with pytest.raises(ValueError, match=r"line 1: .* set cold_start\.fields='problem=question'"):
    FileTraces(write('b.jsonl', [dict(question='?', answer='1')]), fields='')
