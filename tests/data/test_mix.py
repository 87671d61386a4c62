"""Mixes: an ordinal alone decides, shares are exact, no source loses or repeats a problem."""
import collections
import itertools

import pytest

from magistral_jax.data import mix
from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.schedule import BLOCK, Schedule
from magistral_jax.data.sources import SOURCES, samples
from magistral_jax.data.stream import PromptStream
from magistral_jax.data.traces import cold_start_examples
from magistral_jax.records import Problem
from magistral_jax.tokens import ByteTokenizer

SUMS = dict(operations='+-', min_terms=2, max_terms=3, max_number=9)


def file(name, count, held_out=0, **fields):
  """Source of problems named after it."""
  problems = [Problem(f'{name}-{i}', f'{name} {i}?', str(i), name, **fields)
              for i in range(count + held_out)]
  return FiniteSource(0, problems[:count], problems[count:])


def mixed(*weights, seed=0):
  """Mix of files a, b, ... of 7, 8, ... problems, with two held out each."""
  return mix.MixSource(seed, [mix.Part('abcd'[i], file('abcd'[i], 7 + i, 2), weight)
                              for i, weight in enumerate(weights)])


def test_turns_by_hand():
  """Weights 3 and 1: floor(3 n / 4) of the first n turns are the first stream's."""
  turns = [Schedule(0, [3, 1]).unshuffled(turn) for turn in range(8)]
  assert turns == [(1, 0), (0, 0), (0, 1), (0, 2), (1, 1), (0, 3), (0, 4), (0, 5)]


@pytest.mark.parametrize('weights', [
    (1,), (1, 1), (3, 1), (0.6, 0.4), (0.1, 0.2, 0.7), (1e-3, 1, 1), (0, 2, 0, 1), (1e6, 1, 1e-6)])
def test_shares_are_kept_at_every_length(weights):
  schedule, total = Schedule(5, weights), sum(weights)
  counts = collections.Counter()
  for ordinal in range(6 * BLOCK):
    counts[schedule(ordinal)[0]] += 1
    slack = len(weights) + (0 if (ordinal + 1) % BLOCK == 0 else BLOCK)
    for stream, weight in enumerate(weights):
      assert abs(counts[stream] - (ordinal + 1) * weight / total) <= slack
  assert all(counts[stream] == 0 for stream, weight in enumerate(weights) if not weight)


@pytest.mark.parametrize('weights', [(1, 1), (0.1, 0.2, 0.7), (5, 0, 1, 2)])
def test_every_index_of_every_stream_comes_exactly_once(weights):
  schedule = Schedule('text', weights)
  found = collections.defaultdict(list)
  for ordinal in range(10 * BLOCK):
    stream, index = schedule(ordinal)
    found[stream].append(index)
  for indices in found.values():
    assert sorted(indices) == list(range(len(indices)))


@pytest.mark.parametrize('weights', [(1, 1), (0.1, 0.2, 0.7), (5, 0, 1, 2)])
def test_what_was_given_out_before_an_ordinal_is_counted(weights):
  schedule = Schedule(3, weights)
  before = [0] * len(weights)
  for ordinal in range(3 * BLOCK + 5):
    assert schedule.counts(ordinal) == before
    stream, index = schedule(ordinal)
    assert index == before[stream]
    before[stream] += 1


def test_an_ordinal_alone_decides_far_out_too():
  weights, far = (0.1, 0.2, 0.7), 2**53
  ahead = [Schedule(0, weights)(far + i) for i in range(BLOCK)]
  assert ahead == [Schedule(0, weights)(far + i) for i in range(BLOCK)]
  assert len(set(ahead)) == BLOCK
  assert ahead != [Schedule(1, weights)(far + i) for i in range(BLOCK)]
  shares = collections.Counter(stream for stream, _ in ahead)
  assert all(abs(shares[i] - BLOCK * w) <= 3 for i, w in enumerate(weights))


def test_a_resumed_stream_is_the_uninterrupted_one():
  whole = [mixed(2, 1, 1).problem(i) for i in range(300)]
  assert [mixed(2, 1, 1).problem(i) for i in range(123, 300)] == whole[123:]
  assert whole != [mixed(2, 1, 1, seed=1).problem(i) for i in range(300)]


def test_every_source_deals_out_its_epochs_to_the_end():
  source = mixed(3, 1)
  dealt = collections.defaultdict(dict)
  for ordinal in range(7 * BLOCK):
    part, index = source._schedule(ordinal)
    dealt[part][index] = source.problem(ordinal).id
  for part, size in ((0, 7), (1, 8)):
    epochs = [{dealt[part][e * size + i] for i in range(size)}
              for e in range(len(dealt[part]) // size)]
    assert epochs and all(len(epoch) == size for epoch in epochs)


def test_held_out_problems_come_in_turn_whatever_the_weights():
  assert [p.id for p in mixed(9, 1, 1).held_out(4)] == ['a-7', 'b-8', 'c-9', 'a-8']
  assert mixed(9, 1, 1).held_out(4) == mixed(1, 0, 2).held_out(4)
  assert len(mixed(1, 1).held_out(100)) == 4


def test_a_source_of_weight_0_is_evaluated_and_not_trained():
  source = mixed(1, 0)
  assert {source.problem(i).source for i in range(200)} == {'a'}
  assert {p.source for p in source.held_out(4)} == {'a', 'b'}
  with pytest.raises(ValueError, match=r'weights of a mix are all 0: .*data\.mix\.NAME\.weight'):
    mixed(0, 0)


def test_what_one_source_holds_out_no_other_trains_on():
  other = FiniteSource(0, [Problem('x', 'A 7?', '7', 'x'), Problem('y', 'new?', '1', 'x')], [])
  source = mix.MixSource(0, [mix.Part('a', file('a', 7, 2), 1), mix.Part('other', other, 1)])
  assert [p.id for p in source.parts[1].source.training] == ['y']
  with pytest.raises(ValueError, match=r'All training problems of data\.mix\.other'):
    mix.MixSource(0, [mix.Part('a', file('a', 7, 2), 1),
                      mix.Part('other', other.of(other.training[:1], []), 1)])


def test_two_problems_under_one_id_get_different_ones():
  first, second = ([Problem('1', f'{name}?', '1', name)] for name in 'ab')
  source = mix.MixSource(0, [mix.Part('a', FiniteSource(0, first, []), 1),
                             mix.Part('b', FiniteSource(0, second, []), 1),
                             mix.Part('c', FiniteSource(0, first, []), 1)])
  assert [part.source.training[0].id for part in source.parts] == ['1', 'b/1', '1']


def test_a_config_names_sources_weights_and_domains(write, rows):
  programs = [dict(id=f'c{i}', problem=f'Program {i}.', tests=[dict(stdin='1', stdout='1')])
              for i in range(4)]
  path = write('both.jsonl', rows + programs)
  part = lambda **keys: dict(source='jsonl', weight=1, domain='', difficulty='none',
                             pools=False, jsonl=dict(
      path=path, held_out_path='', held_out=0)) | keys
  sums = dict(source='arithmetic', weight=4, domain='', difficulty='none', pools=False,
              arithmetic=SUMS)
  source = SOURCES['mix'](0, words=part(domain='math', weight=3), code=part(domain='code'),
                          sums=sums)
  assert [part.name for part in source.parts] == ['code', 'sums', 'words']
  assert [part.source.size for part in source.parts] == [4, None, 30] and source.size is None
  drawn = collections.Counter(source.problem(i).source for i in range(10 * BLOCK))
  assert [round(drawn[name] / BLOCK / 10, 2) for name in ('both', 'arithmetic', 'doubles')] == [
      0.12, 0.5, 0.38]
  # Of the order of the names, not of the file: another program may sort them.
  again = SOURCES['mix'](0, sums=sums,
                         code=part(domain='code'), words=part(domain='math', weight=3))
  assert [source.problem(i) for i in range(99)] == [again.problem(i) for i in range(99)]
  assert {p.domain for p in samples(source)} == {'math', 'code'} and len(samples(source)) == 36
  with pytest.raises(ValueError, match=r"data\.mix\.a\.domain is 'chess' and the source has no"):
    SOURCES['mix'](0, a=part(domain='chess'))
  with pytest.raises(ValueError, match=r'set data\.mix\.a\.jsonl\.held_out between 0 and 33'):
    SOURCES['mix'](0, a=part(jsonl=dict(path=path, held_out_path='', held_out=99)))


def test_prompts_of_a_mix_are_none_too_long():
  sums = ArithmeticSource(0, **SUMS)
  long = FiniteSource(0, [Problem(str(n), 'x' * n, '1', 'x') for n in range(1, 21)], [])
  parts = [mix.Part('sums', sums, 1), mix.Part('letters', long, 1)]
  stream = PromptStream(mix.MixSource(0, parts), ByteTokenizer(), template='plain',
                        system_prompt='', max_prompt_tokens=12)
  assert stream.dropped == 10
  assert all(len(stream.prompt(i).tokens) <= 12 for i in range(100))
  assert len(stream.held_out(5)) == 5
  with pytest.raises(ValueError, match=r'can take 9 tokens, but 8 .*problems of data\.mix\.sums'):
    PromptStream(mix.MixSource(0, parts), ByteTokenizer(), template='plain', system_prompt='',
                 max_prompt_tokens=8)


def test_a_cold_start_imitates_every_source_by_its_weight():
  solved = file('a', 50, solution='Count.')
  source = mix.MixSource(0, [mix.Part('a', solved, 1),
                             mix.Part('sums', ArithmeticSource('s', **SUMS), 3)])
  examples = cold_start_examples(source, examples=40, mistakes=0.0, seed=0)
  assert collections.Counter(e.problem.source for e in examples) == {
      'a': 10, 'arithmetic': 30}


def test_turns_are_mixed_within_a_block():
  """No period: samplers that take every second ordinal get both sources."""
  schedule = Schedule(0, [1, 1])
  even = [schedule(ordinal)[0] for ordinal in itertools.islice(itertools.count(0, 2), 320)]
  assert 0.4 < sum(even) / len(even) < 0.6
