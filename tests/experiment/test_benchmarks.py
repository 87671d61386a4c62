"""Benchmarks beside training: held-out prompts that their cards judge."""
import dataclasses

import numpy as np
import pytest

from magistral_jax.evaluation.evaluation import Evaluation
from magistral_jax.experiment import benchmarks, build, checks, values
from magistral_jax.metrics import read_lines
from magistral_jax.orchestration import evaluations
from magistral_jax.records import Problem, Prompt
from magistral_jax.sampler.slots import Sampling
from magistral_jax.tokens import load_tokenizer
from tests import fakes, tiny
from tests.evaluation.cards import Verifier


def config(folder, **overrides):
  path = folder / 'aime24.jsonl'
  path.write_text('{"id": "a", "problem": "1+1=?", "answer": 2}\n'
                  '{"id": "b", "problem": "1+2=?", "answer": 3}\n'
                  '{"id": "c", "problem": "1+3=?", "answer": 4}\n')
  return tiny.shrink(tiny.load(), **{
      'evaluation.benchmarks.aime24': dict(data=str(path), limit=2),
      'data.max_prompt_tokens': 64, 'batching.row_tokens': 96} | overrides)


def test_items_are_asked_after_the_problems_and_judged_by_their_card(tmp_path):
  c = config(tmp_path)
  values.check_limits(c)
  tokenizer = load_tokenizer('bytes', '')
  found = benchmarks.prompts(c, tokenizer, build.model_config(c, tokenizer.vocab_size), first=-5)
  assert [(p.ordinal, p.problem.id, p.purpose) for p in found] == [
      (-5, 'a', 'evaluation'), (-6, 'b', 'evaluation')]
  problem = Prompt(-1, Problem('p', '1+1=?', '2', 'x'), np.array([1], np.int32),
                   purpose='evaluation')
  sampler = fakes.FakeSampler(length=lambda ordinal, sample: 4)
  said = {-1: '\\boxed{2}', -5: 'It is \\boxed{2}.', -6: 'It is \\boxed{2}.'}
  write = sampler.step
  def step():
    return [dataclasses.replace(c, text=said[c.ordinal]) for c in write()]
  sampler.step = step
  verifier = benchmarks.judged(c, Verifier())
  held = evaluations.hold([problem, *found], Sampling(2, 1.0, 1.0, 8), [sampler], verifier,
                          deadline_s=30.0)
  result, evaluation = held
  # The problem needs the form of training, the items do not.
  assert (result.problems, result.accuracy, result.statuses) == (1, 0.0, dict(bad_format=2))
  assert result.benchmarks == dict(aime24=0.5)
  assert result.figures()['eval/aime24/accuracy'] == 0.5
  # Without problems the items are what is measured.
  alone = Evaluation(found, 2)
  for key, pair in evaluation.answers.items():
    if key[0] != -1:
      alone.answers[key] = pair
  assert (alone.result().accuracy, alone.result().problems) == (0.5, 2)


def test_without_benchmarks_the_verifier_is_the_one_it_was(tmp_path):
  verifier = Verifier()
  assert benchmarks.judged(tiny.shrink(tiny.load()), verifier) is verifier


@pytest.mark.parametrize('overrides, words', [
    ({'evaluation.benchmarks.aime24.data': 'nowhere'},
     "evaluation.benchmarks.aime24.data: --data='nowhere' does not exist"),
    ({'evaluation.benchmarks.aime24.limit': -1}, 'evaluation.benchmarks.aime24.limit=-1 must be'),
    ({'evaluation.benchmarks.aime42': dict(data='x', limit=0)}, 'did you mean aime2'),
    ({'evaluation.benchmarks.piqa': dict(data='x', limit=0)}, 'scored by log-probabilities'),
    ({'evaluation.benchmarks.hle_text': dict(data='x', limit=0)}, 'are judged by a model'),
    ({'data.max_prompt_tokens': 32}, 'the prompt of item a takes'),
])
def test_a_benchmark_that_cannot_be_held_is_said_before_the_run(tmp_path, overrides, words):
  with pytest.raises(ValueError, match='evaluation.benchmarks') as error:
    checks.prepare(config(tmp_path, **overrides))
  assert words in str(error.value)


@pytest.mark.long
def test_a_run_has_their_figures_in_its_lines(tmp_path):
  c = config(tmp_path, **{'evaluation.every': 1, 'evaluation.samples': 2})
  tiny.run(c, tmp_path / 'run')
  lines = read_lines(tmp_path / 'run/metrics.jsonl')
  assert lines[-1]['eval/aime24/accuracy'] == 0.0 and 'eval/accuracy' in lines[-1]
  assert read_lines(tmp_path / 'run/stages.jsonl')[0]['eval/aime24/accuracy'] == 0.0
