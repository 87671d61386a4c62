"""Tasks of Reasoning Gym: which problems are made, how they are judged, what cannot be.

Most tests stand a small package of the same shape in its place; the long ones need it installed.
"""
import contextlib
import dataclasses
import importlib.util
import json
import sys
import types

import pytest

from magistral_jax.data import gym
from magistral_jax.data.prompts import task
from magistral_jax.data.sources import SOURCES
from magistral_jax.verifiers import gym as judge
from magistral_jax.verifiers import reward
from magistral_jax.verifiers.workers.pool import Pool

INSTALLED = importlib.util.find_spec(gym.PACKAGE) is not None
REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.0, code_reward='all')


@dataclasses.dataclass
class Config:
  seed: int
  size: int
  top: int = 50

  def validate(self):
    assert self.top > 0, 'top must be above 0'


class Doubles:
  """2 x n for numbers below `top`, by seed."""

  def __init__(self, config):
    self.config = config

  def __getitem__(self, index):
    n = (7 * (self.config.seed + index)) % self.config.top
    return dict(question=f'Double {n}.', answer=str(2 * n), metadata=dict(pair=(n, n)))

  def score_answer(self, answer, entry):
    return 1.0 if int(answer) == sum(entry['metadata']['pair']) else 0.01


class Gullible(Doubles):
  def score_answer(self, answer, entry):
    return 1.0 if bool(answer) == bool(entry['answer']) else 0.0


class Unsolved(Doubles):
  """Its own answers are wrong, or not there."""

  def __getitem__(self, index):
    entry = super().__getitem__(index)
    return entry | dict(answer=None if index % 2 else '-1')


class Hanging(Doubles):
  """Its scorer does not end, and takes the alarm for a wrong answer."""

  def score_answer(self, answer, entry):
    with contextlib.suppress(Exception):
      while True:
        pass
    return 0.0


class Failing(Doubles):
  """Its scorer fails on its own answers."""

  def score_answer(self, answer, entry):
    raise KeyError(answer)


class Broken(Doubles):
  def __getitem__(self, index):
    raise KeyError('grid')


@pytest.fixture
def package(monkeypatch):
  """A package of the same shape, with a few tasks."""
  tasks = {made.__name__.lower(): (made, Config) for made in (
      Doubles, Gullible, Broken, Unsolved, Hanging, Failing)}
  def create(name, **settings):
    config = tasks[name][1](**settings)
    config.validate()
    return tasks[name][0](config)
  root = types.ModuleType('reasoning_gym')
  root.create_dataset = create
  root.factory = types.SimpleNamespace(DATASETS=tasks)
  monkeypatch.setitem(sys.modules, 'reasoning_gym', root)
  monkeypatch.setitem(sys.modules, 'reasoning_gym.factory', root.factory)
  judge._dataset.cache_clear()
  yield
  judge._dataset.cache_clear()


def lines(name='doubles', problems=20, held_out=10, **settings):
  return list(gym._lines(task=name, settings=settings, problems=problems, held_out=held_out))


def test_both_sides_have_other_seeds_and_share_no_text(package):
  made = lines()
  held, trained = ([line for line in made if line['held_out'] is side] for side in (True, False))
  assert len(held) == 10 and len(trained) == 20
  assert len({line['question'] for line in made}) == 30
  assert [line['seed'] for line in held] == list(range(10))
  assert min(line['seed'] for line in trained) >= gym.TRAINING_SEED
  assert lines() == made
  # More than there are: what there is.
  assert len(lines(problems=500, held_out=10, top=20)) == 20


def test_an_answer_that_its_scorer_refuses_is_no_gold_and_none_is_for_the_scorer(package):
  made = lines('unsolved')
  assert made and all(line['seed'] % 2 and line['answer'] == '' for line in made)
  assert lines('failing') == []


def test_a_scorer_that_hangs_ends_the_making_in_a_sentence(package, monkeypatch):
  monkeypatch.setattr(gym, 'ITEM_S', 1)
  with pytest.raises(ValueError, match="scorer of .*task='hanging' does not judge .*more than 1 s"):
    lines('hanging')


@pytest.mark.parametrize('name, settings, words', [
    ('dubles', {}, r"task='dubles' is no task .*did you mean doubles\?.*: it has broken, doubles"),
    ('doubles', dict(tip=3), "settings do not suit doubles .*tip.*they may have top"),
    ('doubles', dict(top=0), 'settings do not suit doubles .top must be above 0'),
    ('broken', {}, "task='broken' cannot be made .KeyError"),
    ('gullible', {}, "takes 'no such answer' for a right answer")])
def test_what_cannot_be_made_is_said(package, name, settings, words):
  with pytest.raises(ValueError, match=words):
    lines(name, **settings)


@pytest.mark.parametrize('settings', ['min_terms=2', '[2]', '{"seed": 1}'])
def test_settings_are_a_json_object(settings):
  with pytest.raises(ValueError, match=r'data\.reasoning_gym\.settings='):
    gym.ReasoningGymSource(0, task='doubles', settings=settings, problems=1, held_out=0)


def test_a_package_that_is_not_installed_is_said_by_the_key(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  part = dict(source='reasoning_gym', weight=1.0, domain='', difficulty='none', pools=False,
              reasoning_gym=dict(task='doubles', settings='', problems=1, held_out=0))
  with pytest.raises(ValueError, match='reasoning-gym, which is not installed: run pip install '
                                       'reasoning-gym'):
    SOURCES['mix'](0, sums=part)


@pytest.mark.parametrize('box, status', [
    ('14', 'correct'), (' 14 ', 'correct'), (r'\text{14}', 'correct'), ('13', 'wrong'),
    ('fourteen', 'unparsable'), (r'\text{1}\text{4}', 'unparsable')])
def test_answers_are_judged_by_the_scorer_behind_the_gate(package, box, status):
  entry = next(line['entry'] for line in lines(held_out=0) if line['answer'] == '14')
  job = dict(response=f'<think>7+7</think>\\boxed{{{box}}}', domain='gym', n_tokens=9, answer='14',
             language='en', problem='', scorer=dict(task='doubles', settings='{}', entry=entry))
  verdict = reward.score(job, **REWARDS)
  assert verdict.status == status
  assert verdict.reward == pytest.approx(1.0 if status == 'correct' else 0.1)
  assert reward.score(job | dict(response=box), **REWARDS).status == 'bad_format'


@pytest.fixture(scope='module')
def real():
  if not INSTALLED:
    pytest.skip('reasoning-gym is not installed')
  return gym.ReasoningGymSource(0, task='word_ladder', settings='{"max_word_length": 4}',
                                problems=6, held_out=3)


def test_problems_are_made_in_a_process_of_their_own(real):
  assert real.size == 6 and len(real.evaluation) == 3
  problem = real.problem(0)
  assert problem.id.startswith('word_ladder-1') and problem.domain == 'gym' and problem.answer
  assert task(problem, 'magistral') == (
      f'{problem.text}\n\nPut the final answer, and nothing else, into \\boxed{{}}.')
  assert task(problem, '') == problem.text
  assert json.loads(problem.scorer['settings']) == {'max_word_length': 4}


@pytest.mark.long
def test_the_same_problems_are_made_again(real):
  """This task walks through sets of strings: in this process it would depend on salted hashes."""
  again = gym.ReasoningGymSource(0, task='word_ladder', settings='{"max_word_length": 4}',
                                 problems=6, held_out=3)
  assert again.training == real.training and again.evaluation == real.evaluation


@pytest.fixture(scope='module')
def judged():
  """Status of an answer to a problem, by a worker that has the scorers loaded."""
  with Pool(1, timeout_s=10.0, memory_mb=2048, queue=10, rewards=REWARDS, language_model='',
            sandbox='bubblewrap', test_timeout_s=1.0, test_memory_mb=64, gym=True) as pool:
    yield lambda problem, answer: pool.submit(dict(
        response=answer, bare=True, answer=problem.answer, domain='gym', n_tokens=5, language='en',
        problem=problem.text, tests=None, scorer=problem.scorer)).result().status


@pytest.mark.long
def test_a_worker_judges_by_the_scorer(real, judged):
  for problem in real.training:
    assert (judged(problem, problem.answer), judged(problem, 'no')) == ('correct', 'wrong')


# Their scorers call nonsense right.
FOOLED = {'game_of_life_halting'}
# Made of other tasks, which must be named.
COMPOSED = {'composite'}


@pytest.mark.long
@pytest.mark.skipif(not INSTALLED, reason='reasoning-gym is not installed')
def test_every_task_is_made_and_judged(judged):
  from reasoning_gym.factory import DATASETS
  refused, few, misjudged = {}, [], []
  for name in sorted(DATASETS):
    try:
      source = gym.ReasoningGymSource(0, task=name, settings='', problems=2, held_out=1)
    except ValueError as error:
      refused[name] = str(error)
      continue
    problems = [*source.training, *source.evaluation]
    if len(problems) < 3:
      few.append(name)
    own = [judged(p, p.answer) for p in problems if p.answer]
    nonsense = [judged(p, 'no such answer') for p in problems]
    if set(own) - {'correct'} or set(nonsense) - {'wrong', 'unparsable'}:
      misjudged.append((name, own, nonsense))
  assert set(refused) == FOOLED | COMPOSED, refused
  assert (few, misjudged) == ([], [])
