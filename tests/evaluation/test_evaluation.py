"""An evaluation: every answer of one version, figures against hand-computed values."""
import numpy as np
import pytest

from magistral_jax.evaluation import estimators
from magistral_jax.evaluation.evaluation import Evaluation, _votes
from magistral_jax.orchestration import answering, evaluations
from magistral_jax.orchestration.roles import Lost
from magistral_jax.records import Completion, Problem, Prompt, Verdict, WeightSnapshot
from magistral_jax.sampler.slots import Sampling
from tests import fakes


def prompt(ordinal):
  return Prompt(ordinal, Problem(f'p{ordinal}', '1+1=?', '2', 'test'), np.array([1], np.int32))


def answer(ordinal, sample, status, text, n=10, version=4):
  return (
      Completion(ordinal, sample, np.zeros(n, np.int32), np.zeros(n, np.float32), ((0, version),),
                 'stop', text, 0.1),
      Verdict(status, float(status == 'correct'), {}, answer=text))


def hand_made():
  """Two problems, two samples: one solved twice, one solved once and unanswered once."""
  evaluation = Evaluation([prompt(-1), prompt(-2)], samples=2)
  return evaluation, [
      answer(-2, 1, 'bad_format', '', n=40), answer(-1, 0, 'correct', '2'),
      answer(-1, 1, 'correct', '2.0'), answer(-2, 0, 'correct', '2', n=20)]


def test_figures_by_hand():
  evaluation, answers = hand_made()
  for left, (completion, verdict) in zip((3, 2, 1, 0), answers, strict=True):
    evaluation.add(completion, verdict)
    assert evaluation.open == left
  result = evaluation.result()
  assert (result.version, result.problems, result.samples) == (4, 2, 2)
  assert result.accuracy == 0.75
  # Means 1 and 0.5: standard deviation sqrt(1/8), over sqrt(2).
  assert result.accuracy_se == pytest.approx(0.25)
  assert result.pass_at == {1: 0.75, 2: 1.0}
  assert result.maj_at == {1: 0.75, 2: 1.0}      # A completion without an answer does not vote.
  assert result.mean_tokens == 20.0
  assert result.statuses == dict(bad_format=1, correct=3)
  assert result.figures()['eval/per_problem'] == [['p-1', 1.0], ['p-2', 0.5]]


def test_wrong_votes_are_counted_by_value_and_programs_by_spelling():
  answers = [('correct', '4'), ('correct', '4.0'), ('wrong', '0.5'), ('wrong', r'\frac12'),
             ('wrong', r'\frac{1}{2}')]
  for domain, expected in (('math', 0.0), ('code', 1.0)):
    problem = Problem('p', '?', '4', 'test', domain=domain)
    evaluation = Evaluation([Prompt(-1, problem, np.array([1], np.int32))], samples=5)
    for i, (status, text) in enumerate(answers):
      evaluation.add(*answer(-1, i, status, text))
    votes = _votes(evaluation.prompts[0], [v for _, v in evaluation.answers.values()])
    correct = [status == 'correct' for status, _ in answers]
    assert estimators.maj_at_k(votes, correct, 5) == expected
    # Of four, a right one is missing in 2 of 5 draws: three against one, or four ways to tie.
    four = 3 / 5 * 0.5 if domain == 'math' else 2 / 5 / 4 + 3 / 5
    assert evaluation.result().maj_at[4] == pytest.approx(four)


def test_answers_that_ran_out_of_time_are_not_compared_again(monkeypatch):
  asked = []
  monkeypatch.setattr('magistral_jax.evaluation.evaluation.same_answer',
                      lambda *texts: asked.append(texts))
  verdicts = [Verdict('timeout', 0.0, {}, answer='9^{9}'), Verdict('memory', 0.0, {}, answer='8'),
              Verdict('wrong', 0.0, {}, answer='7'), Verdict('correct', 1.0, {}, answer='2')]
  assert _votes(prompt(-1), verdicts) == ['9^{9}', '8', '7', '2'] and not asked


def test_the_verifiers_failure_is_not_solved_and_is_shown():
  evaluation = Evaluation([prompt(-1)], samples=2)
  evaluation.add(*answer(-1, 0, 'error', ''))
  evaluation.add(*answer(-1, 1, 'correct', '2'))
  result = evaluation.result()
  assert result.accuracy == 0.5 and result.statuses == dict(correct=1, error=1)


@pytest.mark.parametrize('versions', [((0, 3),), ((0, 4), (5, 5))])
def test_two_versions_of_the_weights_are_refused(versions):
  evaluation, answers = hand_made()
  for completion, verdict in answers:
    evaluation.add(completion, verdict)
  completion, verdict = answers[0]
  evaluation.add(Completion(-2, 1, completion.tokens, completion.sampler_logp, versions, 'stop',
                            '', 0.1), verdict)
  with pytest.raises(RuntimeError, match='one version of the weights'):
    evaluation.result()


def test_the_same_answer_twice_counts_once():
  evaluation, answers = hand_made()
  evaluation.add(*answers[0])
  evaluation.add(*answers[0])
  assert evaluation.open == 3


def test_an_evaluation_of_its_own_goes_through_sampler_and_verifier():
  sampler, verifier, seen = fakes.FakeSampler(slots=4), fakes.FakeVerifier(), []
  prompts = fakes.FakeStream().held_out(5)
  result, evaluation = evaluations.hold(
      prompts, Sampling(2, 0.0, 1.0, 128), [sampler], verifier, deadline_s=60.0,
      progress=lambda done, total: seen.append((done, total)))
  assert (result.accuracy, result.accuracy_se, result.version) == (0.5, 0.0, 0)
  assert len(evaluation.answers) == 10 and seen[-1] == (10, 10)
  assert not sampler.pinned and not sampler.open


def test_an_evaluation_holds_the_weights_still_until_it_is_over():
  sampler, verifier = fakes.FakeSampler(slots=4), fakes.FakeVerifier()
  sampler.offer(WeightSnapshot(1, None))
  sampler.before_step = lambda: sampler.offer(WeightSnapshot(sampler.version + 1, None))
  result, _ = evaluations.hold(fakes.FakeStream().held_out(5), Sampling(2, 0.0, 1.0, 128),
                               [sampler], verifier, deadline_s=60.0)
  assert result.version == sampler.version == 1
  sampler.step()
  assert sampler.version == 2


class Flickering(fakes.FakeSampler):
  """Not ready at first, or lost in its third dispatch and not ready again after that."""

  def __init__(self, lost_at=None):
    super().__init__(slots=4)
    self.ready, self._dispatches, self._lost_at = lost_at is not None, 0, lost_at

  has_capacity = property(lambda self: self.ready)

  def step(self):
    self._dispatches += 1
    if self._dispatches == self._lost_at:
      self.ready = False
      self.abandon()
    return super().step()


def test_an_evaluation_goes_to_a_sampler_that_is_ready_and_from_one_that_is_lost_to_another():
  late, lost, well = Flickering(), Flickering(lost_at=3), fakes.FakeSampler(slots=4)
  result, evaluation = evaluations.hold(
      fakes.FakeStream().held_out(5), Sampling(2, 0.0, 1.0, 128), [late, lost, well],
      fakes.FakeVerifier(), deadline_s=60.0)
  assert len(evaluation.answers) == 10 and result.accuracy == 0.5
  assert not late.counts['tokens'] and lost.counts['tokens']
  assert len(well.finished) == 10 and not well.open


def test_an_evaluation_whose_trainer_is_lost_leaves_nothing_behind():
  sampler, verifier, lives = fakes.FakeSampler(slots=4), fakes.FakeVerifier(), iter(range(4))
  def check():
    if next(lives) == 3:
      raise Lost('trainer-0 died')
  with pytest.raises(Lost, match='trainer-0'):
    evaluations.hold(fakes.FakeStream().held_out(5), Sampling(2, 0.0, 1.0, 128), [sampler],
                     verifier, deadline_s=60.0, check=check)
  assert sampler.counts['tokens'] and not sampler.open and not verifier.pending()


def test_an_evaluation_that_stands_still_ends_with_its_key():
  verifier = fakes.FakeVerifier()
  verifier.drain = lambda wait_s=0.0: []
  with pytest.raises(TimeoutError, match=r'for 0 s \(runtime.deadline_s\)\. 4 of 4 are missing'):
    evaluations.hold(fakes.FakeStream().held_out(2), Sampling(2, 0.0, 1.0, 128),
                     [fakes.FakeSampler()], verifier, deadline_s=0.1)
  verifier.pending = lambda: 3
  with pytest.raises(TimeoutError, match='3 completions were not judged within 0 s'):
    answering.discard(verifier, deadline_s=0.1)


def test_discarding_waits_for_what_is_being_scored():
  verifier = fakes.FakeVerifier()
  for completion, _ in hand_made()[1]:
    verifier.put(completion, None)
  answering.discard(verifier, deadline_s=60.0)
  assert verifier.pending() == 0
