"""Roles in processes of their own: whatever dies or freezes, each prompt is trained once.

The processes are real and started by Ray; what they hold is fake, so that they start in a second.
Where a fault falls in the run depends on the machine: the checks hold wherever it falls.
"""
import json
import os
import re
import signal

import jax
import psutil
import pytest

from magistral_jax.experiment import checks
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.run import Run
from magistral_jax.records import Problem, Prompt
from magistral_jax.trainer.role import DivergedError
from tests import fakes, tiny

ray = pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import ray_cluster  # noqa: E402
from tests.runtime import fake_actors, lending_actors  # noqa: E402
from tests.runtime.cluster import (  # noqa: E402
  DEADLINE_S,
  FROZEN_S,
  GROUP,
  HEARTBEAT_S,
  PROMPTS,
  Cluster,
  accounted,
  accounted_lines,
  once_something_is_trained,
  until,
)

pytestmark = pytest.mark.usefixtures('ray_here')


def alive(pid):
  """Whether a process runs; None is none."""
  try:
    return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
  except psutil.NoSuchProcess:
    return False


FAULTS = {
    'a sampler is killed': ('sampler-1', signal.SIGKILL),
    'a sampler freezes': ('sampler-0', signal.SIGSTOP),
    'a verifier is killed': ('verifier-0', signal.SIGKILL),
    'a verifier freezes': ('verifier-1', signal.SIGSTOP),
    'a trainer process is killed': ('trainer-1', signal.SIGKILL),
    'a trainer process freezes': ('trainer-0', signal.SIGSTOP)}

# Of a lost verifier test_verifier_proxy.py tells in one process; of samplers that die, the test of
# prompts that kill them.
SLOW = ('a verifier freezes', 'a trainer process freezes', 'a verifier is killed',
        'a sampler is killed')


# One that freezes stands for all by default: each costs its heartbeat's patience.
@pytest.mark.parametrize('name, number', [
    pytest.param(*fault, id=what, marks=[pytest.mark.long] if what in SLOW else [])
    for what, fault in FAULTS.items()])
def test_every_prompt_is_trained_once_though(tmp_path, name, number):
  with Cluster(tmp_path, trainers=2, samplers=2, verifiers=2,
               heartbeat_s=FROZEN_S if number == signal.SIGSTOP else HEARTBEAT_S) as running:
    pids = [h.where.get('pid') for h in running.runtime.handles]
    fault = once_something_is_trained(
        running, lambda: os.kill(running.handle(name).where['pid'], number))
    # Long enough that the fault falls into the run, however late it is.
    loop = running.run(40, evaluation_every=7)
    fault.join()
    pids += [h.where.get('pid') for h in running.runtime.handles]
    lost = {h.name for h in running.runtime.handles if h.lost}
    assert name in lost and {n.split('-')[0] for n in lost} == {name.split('-')[0]}
  accounted(tmp_path, 40, loop.journal.summary())
  assert loop.trainer.version == 40 and loop.ledger.counts['trained'] == 40 * PROMPTS
  until(lambda: not any(map(alive, pids)))


class Poisoned(fakes.FakeStream):
  """One prompt that ends whatever process takes it up."""

  def prompt(self, ordinal):
    if ordinal != 5:
      return super().prompt(ordinal)
    problem = Problem('p5', 'poison', 'x', 'fake')
    return Prompt(ordinal, problem, super().prompt(ordinal).tokens)


def test_a_prompt_that_kills_every_sampler_is_dropped_and_counted(tmp_path, capfd):
  with Cluster(tmp_path, samplers=1, restarts=5) as running:
    loop = running.run(6, stream=Poisoned())
    roles = loop.role_status()
    # What Ray has to say of the deaths, sooner or later, is not printed over the display.
    told = tmp_path / 'ray.log'
    until(lambda: told.exists() and 'A worker died or was killed' in told.read_text())
    assert 'raylet' not in ''.join(capfd.readouterr())
  assert set(roles) == {'trainer-0', 'sampler-0', 'verifier-0'}
  for status in roles.values():
    assert status.doing and 'pid' in status.where and status.heard_s < DEADLINE_S
    assert status.queue >= 0
  # The run ends when the last weights are made; whether the sampler has them yet depends.
  assert roles['trainer-0'].version == 6 and 1 <= roles['sampler-0'].version <= 6
  assert roles['verifier-0'].version is None
  assert loop.ledger.counts['failed'] >= 1
  lines = accounted(tmp_path, 6)
  assert 5 not in {line['ordinal'] for line in lines}


def test_a_role_that_cannot_be_kept_alive_stops_the_run_with_its_name(tmp_path):
  class Deadly(fakes.FakeStream):
    def prompt(self, ordinal):
      return Prompt(ordinal, Problem(f'p{ordinal}', 'poison', 'x', 'fake'),
                    super().prompt(ordinal).tokens)

  with (Cluster(tmp_path, samplers=1, restarts=1) as running,
        pytest.raises(RuntimeError, match='sampler-0 was lost 2 times in a row')):
    running.run(6, stream=Deadly())


class Tenant:
  """Takes the resources of a sampler."""

  def here(self):
    return True


def test_a_sampler_joins_when_there_is_room_and_may_leave_for_good(tmp_path):
  """As where a preempted node comes late, and where a node goes and none replaces it."""
  take_resources = lambda: ray.remote(num_cpus=0, resources=dict(sampler=1))(Tenant).remote()
  tenant = take_resources()
  assert ray.get(tenant.here.remote(), timeout=DEADLINE_S)
  joined = []

  def come_and_go():
    loop = running.loop
    late = next(h for h in running.runtime.handles if h.name.startswith('sampler') and not h.where)
    role = loop.samplers[int(late.name[-1])]
    ray.kill(tenant)
    until(lambda: role.counts['tokens'] > 0)
    joined.append((late.name, role.version))
    # First in the queue for the resources that the sampler is about to lose.
    another = take_resources()
    leaving = running.handle('sampler-0')
    os.kill(leaving.where['pid'], signal.SIGKILL)
    assert ray.get(another.here.remote(), timeout=DEADLINE_S)
    version = loop.trainer.version
    until(lambda: loop.trainer.version > version + 3 and max(evaluated()) > version + 3)
    joined.append((leaving.name, leaving.where))
    loop.health.stopping.set()
    ray.kill(another)

  def evaluated():
    lines = (tmp_path / 'metrics.jsonl').read_text().split('\n')[:-1]
    return [json.loads(line).get('eval/version', 0) for line in lines]

  with Cluster(tmp_path, samplers=2) as running:
    thread = once_something_is_trained(running, come_and_go)
    loop = running.run(100_000, evaluation_every=1)
    thread.join()
  (name, version), (_, where) = joined
  assert name in ('sampler-0', 'sampler-1') and version >= 2 and not where
  accounted(tmp_path, loop.trainer.version, loop.journal.summary())


def test_rows_go_to_the_process_that_holds_them(tmp_path):
  with Cluster(tmp_path, mode='ray_lockstep', trainers=2) as running:
    loop = running.run(3)
  assert loop.trainer.version == 3
  accounted(tmp_path, 3)


# In one process: tests/runtime/test_verifier_proxy.py.
@pytest.mark.long
def test_a_completion_that_kills_every_verifier_is_dropped_alone(tmp_path):
  roles = fake_actors.Roles(VerifierActor=fake_actors.FragileVerifier)
  with Cluster(tmp_path, roles=roles, verifiers=2, restarts=3) as running:
    loop = running.run(6)
  assert loop.ledger.counts['failed'] == 0
  lines = accounted_lines(tmp_path)
  assert {(x['ordinal'], x['sample']) for x in lines if x['fate'] == 'failed'} == {(5, 1)}
  assert [x['fate'] for x in lines if x['ordinal'] == 5].count('trained') == GROUP - 1
  assert [x['status'] for x in lines if x['fate'] == 'failed'] == ['error']
  assert loop.trainer.version == 6


@pytest.mark.parametrize('role, kind, restarts, words', [
    ('TrainerActor', 'DyingTrainer', 1, 'trainer-0 was lost 2 times in a row .*runtime.restarts=1.*'
                                       "ArithmeticError.*the chip is on fire"),
    pytest.param(
        'VerifierActor', 'DyingVerifier', 1, 'verifier-0 was lost 2 times in a row .*no memory',
        marks=pytest.mark.long),
    pytest.param(
        'TrainerActor', 'HangingTrainer', 0, 'trainer-0 was lost 1 times in a row .*'
        'trainer-0 gave no answer to train within 3 s', marks=pytest.mark.long)])
def test_a_role_that_fails_whatever_is_done_stops_the_run_with_its_name_and_last_words(
    tmp_path, role, kind, restarts, words):
  roles = fake_actors.Roles(**{role: getattr(fake_actors, kind)})
  call_s = 3.0 if kind == 'HangingTrainer' else DEADLINE_S
  with Cluster(tmp_path, roles=roles, restarts=restarts, call_s=call_s) as running:
    with pytest.raises(RuntimeError) as caught:
      running.run(6)
    cause = caught.value.__cause__ if 'failed: ' in str(caught.value) else None
    assert re.search(words, f'{caught.value} {cause}', re.DOTALL)


@pytest.mark.long
def test_gradients_that_are_not_finite_end_the_run_and_restart_no_process(tmp_path):
  roles = fake_actors.Roles(TrainerActor=fake_actors.DivergingTrainer)
  with Cluster(tmp_path, roles=roles, trainers=2) as running:
    with pytest.raises(DivergedError, match='^3 steps in a row had gradients'):
      running.run(6)
    assert not any(handle.lost for handle in running.runtime.handles)


@pytest.mark.parametrize('role, kind, words', [
    ('SamplerActor', 'IdleSampler', 'Prompt 0 is the oldest on its way: sampler-0 has it, 0 of'),
    pytest.param(
        'VerifierActor', 'IdleVerifier', r'0 of its 4 completions are scored, and \d\d of all wait',
        marks=pytest.mark.long)])
def test_a_process_that_answers_and_does_nothing_is_named(tmp_path, role, kind, words):
  roles = fake_actors.Roles(**{role: getattr(fake_actors, kind)})
  with (Cluster(tmp_path, roles=roles, stall_s=3.0) as running,
        pytest.raises(TimeoutError, match=words)):
    running.run(6)


class Cut(fakes.FakeStream):
  """A prompt whose first answer never comes back."""
  cut = False

  def prompt(self, ordinal):
    prompt = super().prompt(ordinal)
    if ordinal != 5 or self.cut:
      return prompt
    self.cut = True
    return Prompt(ordinal, Problem('p5', 'hang', 'x', 'fake'), prompt.tokens)


@pytest.mark.long
def test_a_call_that_never_answers_costs_its_sampler_and_no_prompt(tmp_path):
  with Cluster(tmp_path, samplers=2, call_s=15.0) as running:
    loop = running.run(10, stream=Cut())
    lost = {h.name for h in running.runtime.handles if h.lost}
  assert lost and lost <= {'sampler-0', 'sampler-1'}
  lines = accounted(tmp_path, 10, loop.journal.summary())
  assert 5 in {line['ordinal'] for line in lines}


@pytest.mark.long
def test_a_network_that_is_slow_for_a_while_costs_no_process(tmp_path):
  roles = fake_actors.Roles(SamplerActor=fake_actors.LateSampler)
  with Cluster(tmp_path, roles=roles, samplers=2, heartbeat_s=6.0) as running:
    loop = running.run(10)
    assert not any(h.lost for h in running.runtime.handles)
  accounted(tmp_path, 10, loop.journal.summary())


def run_to_the_end(workdir, roles, **changed):
  """Everything that a run does, cold start and evaluations too: what it said, and its handles."""
  c = tiny.shrink(tiny.load(), **{
      'runtime.mode': 'ray', 'runtime.deadline_s': DEADLINE_S, 'runtime.heartbeat_s': HEARTBEAT_S,
      'checkpoints.every': 3, 'cold_start.steps': 10, 'cold_start.examples': 64,
      'batching.row_tokens': 128, 'evaluation.problems': 2, 'runtime.restarts': 2, **changed})
  said, guard = [], jax.config.jax_transfer_guard
  with ray_cluster.ClusterRuntime(c, workdir, roles=roles) as runtime:
    display = Display(c.total_steps, False)
    display.note = said.append
    run = Run(c, workdir, checks.prepare(c), runtime, runtime.verifier(), Health(DEADLINE_S),
              display)
    try:
      run.train()
    finally:
      jax.config.update('jax_transfer_guard', guard)
      run.close()
    lost = {handle.name: handle.lost for handle in runtime.handles}
  return said, lost, json.loads((workdir / 'summary.json').read_text())


def test_a_trainer_lost_in_the_cold_start_goes_on_from_its_newest_checkpoint(tmp_path):
  said, lost, summary = run_to_the_end(
      tmp_path, fake_actors.Roles(TrainerActor=fake_actors.FaultyTrainer), total_steps=3)
  assert lost['trainer-0'] == 1
  note = next(i for i, note in enumerate(said) if note.startswith('The trainer was lost before'))
  assert said[note + 1].startswith('Resumed at step 6 of')
  assert (tmp_path / 'died').exists() and not (tmp_path / 'cold_start').exists()
  assert summary['steps'] == 3
  assert [key for key in summary if key.startswith('accuracy') and summary[key] is not None]


def test_in_lockstep_all_is_as_if_the_trainer_had_not_died_whatever_waited_for_it(tmp_path):
  said, lost, summary = run_to_the_end(
      tmp_path, fake_actors.Roles(TrainerActor=fake_actors.MortalTrainer,
                                 SamplerActor=fake_actors.FetchingSampler),
      **{'runtime.mode': 'ray_lockstep', 'runtime.restarts': 5, 'total_steps': 6})
  assert lost['trainer-0'] == 5
  assert sum(note.startswith('The trainer was lost before') for note in said) == 2
  assert summary['steps'] == 6 and summary['max_staleness'] == 0
  assert sorted(int(path.stem) for path in (tmp_path / 'checkpoints').glob('*.json'))[-1] == 6
  prompts, lines = tiny.shrink(tiny.load()).batching.prompts_per_batch, accounted_lines(tmp_path)
  assert ({(line['step'], line['ordinal']) for line in lines}
          == {(ordinal // prompts + 1, ordinal) for ordinal in range(6 * prompts)})
  assert ({(line['step'], *line['versions'][0]) for line in lines}
          == {(step, 0, step - 1) for step in range(1, 7)})


@pytest.mark.parametrize('trainer, transport', [
    ('Trainer', 'device'), pytest.param('SpoiledTrainer', 'host', marks=pytest.mark.long)])
def test_weights_go_by_device_or_where_that_fails_by_host(tmp_path, trainer, transport):
  roles = fake_actors.Roles(TrainerActor=getattr(lending_actors, trainer),
                           SamplerActor=lending_actors.Sampler)
  with Cluster(tmp_path, roles=roles, trainers=2) as running:
    running.run(6)
    assert f'by {transport}' in str(running.runtime.role_status()['sampler-0'])
  accounted(tmp_path, 6)
  lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  figures = lines[-1]
  assert figures[f'weights_{transport}'] == figures['weights'] >= 1
  assert figures[f'weights_{transport}_gb_per_s'] > 0
  if transport == 'host':
    assert figures['weights_device_failures'] >= 1 and figures['weights_recovery_s'] > 0
    assert 'weights_device' not in figures
