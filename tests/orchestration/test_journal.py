"""What a run writes down, and that files, totals and ledger go back to the same moment."""
import dataclasses
import json

import pytest

from magistral_jax import metrics
from magistral_jax.durable import WriteError
from magistral_jax.orchestration.report import SUMMARY_KEYS
from magistral_jax.records import Verdict
from tests import fakes
from tests.full_disk import FullFile


def test_a_line_says_what_was_sampled_and_what_was_trained(make_loop, tmp_path):
  def judge(completion):
    reward = 0.5 if completion.ordinal == 1 else float(completion.sample == 0)
    return Verdict('correct' if reward else 'wrong', reward, dict(correct=reward))
  length = lambda ordinal, sample: 10 * (ordinal + 1)
  loop = make_loop(samplers=[fakes.FakeSampler(length=length)], prompts_per_batch=2,
                   verifier=fakes.FakeVerifier(judge))
  fakes.fill(loop, 2)
  loop.update(loop.next_batch())
  line, = metrics.read_lines(tmp_path / 'metrics.jsonl')
  # Sampled: groups 0, 1, 2 of 10, 20, 30 tokens; group 1 all the same, so 0 and 2 are trained.
  assert line['reward'] == pytest.approx((0.25 + 0.5 + 0.25) / 3)
  assert line['accuracy'] == pytest.approx((0.25 + 1.0 + 0.25) / 3)
  assert line['completion_tokens_mean'] == 20.0
  assert line['groups_all_correct'] == pytest.approx(1 / 3) and line['groups_none_correct'] == 0.0
  assert (line['trained_reward'], line['trained_tokens_mean']) == (0.25, 20.0)
  assert (line['step'], line['version'], line['staleness_max']) == (1, 1, 0.0)
  assert (line['groups_trained'], line['groups_filtered']) == (2, 1)
  assert line['wall_s'] > 0
  summary = loop.journal.summary()
  assert (summary['completions'], summary['prompts_trained'], summary['groups_filtered']) == (
      12, 2, 1)


def test_a_failure_of_the_verifier_is_no_reward(make_loop, tmp_path):
  def judge(completion):
    if completion.ordinal == 0:
      return Verdict('error', 0.0, {})
    return fakes.every_other(completion)
  loop = make_loop(prompts_per_batch=2, verifier=fakes.FakeVerifier(judge),
                   samplers=[fakes.FakeSampler(length=lambda ordinal, sample: 8)])
  fakes.fill(loop, 2)
  loop.update(loop.next_batch())
  line, = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert line['reward'] == 0.5 and line['verifier_errors'] == 4


def test_an_update_is_written_even_when_nothing_was_sampled_since_the_last(make_loop, tmp_path):
  """Two batches were waiting: between their updates nothing need come."""
  loop = make_loop(max_staleness=3)
  fakes.fill(loop, 8)
  loop.update(loop.next_batch())
  loop.update(loop.next_batch())
  lines = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert [line['reward'] for line in lines] == [0.5, 0.5]
  assert [line['staleness_max'] for line in lines] == [0.0, 1.0]
  assert loop.journal.summary()['mean_staleness'] == 0.5


def test_staleness_counts_from_the_oldest_token(make_loop, tmp_path):
  loop = make_loop(prompts_per_batch=1, max_staleness=3,
                   samplers=[fakes.FakeSampler(slots=8, length=lambda ordinal, sample: 8)])
  sampler, = loop.samplers
  loop.admit(sampler)
  loop.sample(sampler)                   # 4 tokens of 8 by version 0.
  loop.trainer.version = 2
  loop.publish()
  fakes.fill(loop, 1)
  loop.update(loop.next_batch())
  line, = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert (line['step'], line['staleness_mean'], line['versions_mean']) == (3, 2.0, 2.0)
  rollout = metrics.read_lines(tmp_path / 'rollouts.jsonl')[0]
  assert rollout['versions'] == [[0, 0], [4, 2]] and rollout['step'] == 3


def test_a_restored_journal_cuts_the_files_to_its_moment(make_loop, tmp_path):
  loop = make_loop()
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  loop.journal.note(accuracy_start=0.25)
  totals = loop.journal.summary()
  record = json.loads(json.dumps(loop.journal.record()))
  before = {name: (tmp_path / name).read_bytes() for name in ('rollouts.jsonl', 'metrics.jsonl')}
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  loop.journal.close()
  with open(tmp_path / 'rollouts.jsonl', 'ab') as file:
    file.write(b'{"ordinal": 99, "sam')  # Killed while writing.
  again = make_loop(record=record)
  assert before == {name: (tmp_path / name).read_bytes() for name in before}
  now = again.journal.summary()
  assert now.pop('wall_s') >= totals.pop('wall_s')
  spent, before = now.pop('time_s'), totals.pop('time_s')
  assert spent.pop('other') > 0 and before.pop('other') > 0 and spent == before
  assert now == totals and now['accuracy_start'] == 0.25


def test_a_record_does_not_change_after_it_was_taken(make_loop):
  """It is written in the background while the run goes on."""
  loop = make_loop()
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  record = loop.journal.record()
  text = json.dumps(record)
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  loop.journal.note(accuracy_start=0.5)
  assert json.dumps(record) == text


def test_the_summary_has_the_fixed_keys(make_loop):
  loop = make_loop()
  loop.start_clock()
  # Before the first update too: a run may end without one.
  assert set(SUMMARY_KEYS) - set(loop.journal.summary()) <= {
      'accuracy_start', 'accuracy_cold_start', 'accuracy_final'}
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  summary = loop.journal.summary()
  for key in ('reward_first', 'reward_last', 'sampled_tokens_per_s', 'trained_tokens_per_s',
              'packing_efficiency', 'mean_staleness'):
    assert summary[key] is not None, key
  assert 0 < summary['packing_efficiency'] <= 1


def test_a_group_is_booked_once(make_loop):
  loop = make_loop()
  fakes.fill(loop, 4)
  batch = loop.next_batch()
  loop.update(batch)
  with pytest.raises(ValueError, match='it is settled or was never issued'):
    loop.journal.settle(dataclasses.replace(batch.groups[0]), 'stale')


def test_totals_are_the_sums_of_what_stands_in_the_files(make_loop, tmp_path):
  """Whatever became of a group, and though some wait for a batch."""
  def judge(completion):
    if completion.ordinal % 3 == 0:
      return Verdict('wrong', 0.0, {})
    if completion.ordinal % 5 == 0:
      return Verdict('error', 0.0, {})
    return fakes.every_other(completion)
  loop = make_loop(verifier=fakes.FakeVerifier(judge))
  for _ in range(3):
    fakes.fill(loop, 5)
    loop.update(loop.next_batch())
  lines = metrics.read_lines(tmp_path / 'rollouts.jsonl')
  summary = loop.journal.summary()
  assert summary['completions'] == len(lines)
  assert summary['completions_spanning_versions'] == sum(len(x['versions']) > 1 for x in lines)
  assert {x['fate'] for x in lines} == {'trained', 'filtered', 'failed'}


def test_a_line_counts_what_was_filtered_before_a_stop_and_nothing_twice(make_loop, tmp_path):
  """A stop between two updates: what has a fate keeps it, what waits is sampled again."""
  flat = lambda completion: completion.ordinal % 2 == 0
  judge = lambda completion: (Verdict('wrong', 0.0, {}) if flat(completion)
                              else fakes.every_other(completion))
  parts = lambda: dict(verifier=fakes.FakeVerifier(judge), prompts_per_batch=2, samplers=[
      fakes.FakeSampler(length=lambda ordinal, sample: 4 + 4 * ordinal)])
  loop = make_loop(**parts())
  fakes.fill(loop, 1)
  filtered = loop.ledger.counts['filtered']
  assert filtered and loop.batcher.waiting
  record = json.loads(json.dumps(loop.journal.record()))
  loop.journal.close()
  again = make_loop(record=record, **parts())
  fakes.fill(again, 2)
  again.update(again.next_batch())
  line, = metrics.read_lines(tmp_path / 'metrics.jsonl')
  groups = again.ledger.counts['filtered'] + 2
  assert line['reward'] == pytest.approx(0.5 * 2 / groups)
  assert again.journal.summary()['completions'] == 4 * groups
  assert len(metrics.read_lines(tmp_path / 'rollouts.jsonl')) == 4 * groups


def books(loop):
  """What a checkpoint would hold, without what a clock says."""
  record = loop.journal.record()
  totals = {name: n for name, n in record.pop('totals').items() if n and name != 'rl_s'}
  return record | dict(wall_s=0.0, time_s={}), totals


def refuse(monkeypatch, writer, room):
  monkeypatch.setattr(writer, '_file', FullFile(writer._file, room))


@pytest.mark.parametrize('name, room', [('_rollouts', 0), ('_rollouts', 1000), ('_metrics', 0),
                                        ('_metrics', 100)])
def test_a_full_disk_in_an_update_is_told_and_no_book_changes(make_loop, monkeypatch, name, room):
  loop = make_loop()
  fakes.fill(loop, 4)
  batch, before = loop.next_batch(), books(loop)
  writer = getattr(loop.journal, name)
  with monkeypatch.context() as patch:
    refuse(patch, getattr(writer, '_lines', writer), room)
    with pytest.raises(WriteError, match=r'No space left on device: .*\.jsonl'):
      loop.update(batch)
  loop.save()
  assert not loop.checkpoints.saved       # The weights know of the update, the books do not.
  assert books(loop) == before


@pytest.mark.parametrize('room', [0, 1, 400, 1000])
def test_a_full_disk_within_the_lines_of_a_group_leaves_books_that_agree(
    make_loop, tmp_path, monkeypatch, room):
  """What a run saves that ends there can be gone on with, and nothing is lost or twice."""
  wrong = lambda completion: (Verdict('wrong', 0.0, {}) if completion.ordinal == 1
                              else fakes.every_other(completion))
  first = make_loop(verifier=fakes.FakeVerifier(wrong), samplers=[
      fakes.FakeSampler(length=lambda ordinal, sample: 4 + 4 * ordinal)])
  sampler, = first.samplers
  with monkeypatch.context() as patch:
    refuse(patch, first.journal._rollouts._lines, room)
    with pytest.raises(WriteError, match='rollouts.jsonl'):
      fakes.fill(first, 4)
  first.save()
  record, = first.checkpoints.saved.values()
  assert record['ledger']['counts']['filtered'] == 0 and record['rollouts_end'] == [1, 0]
  first.journal.close()
  again = make_loop(record=record, verifier=fakes.FakeVerifier(wrong))
  fakes.fill(again, 4)
  again.update(again.next_batch())
  lines = metrics.read_lines(tmp_path / 'rollouts.jsonl')
  assert sorted((line['ordinal'], line['sample']) for line in lines) == [
      (ordinal, sample) for ordinal in range(5) for sample in range(fakes.GROUP)]
  assert again.journal.summary()['completions'] == len(lines)


def test_a_checkpoint_waits_for_the_disk_and_verdicts_do_not(make_loop, monkeypatch):
  loop = make_loop()
  free = []
  def sync(number):
    free.append(loop.journal._lock.acquire(blocking=False))
    loop.journal._lock.release()
  monkeypatch.setattr('os.fsync', sync)
  loop.journal.record()
  assert free == [True] * 3


def test_a_run_that_is_recovered_here_keeps_its_clock(make_loop, monkeypatch):
  loop = make_loop()
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  record = loop.journal.record()
  before = loop.journal.wall_s
  loop.journal.restore(record | dict(wall_s=before / 2), complete=loop.batcher.waiting_ordinals)
  assert loop.journal.wall_s >= before
