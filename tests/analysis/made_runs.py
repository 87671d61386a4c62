"""Workdirs of runs that nobody ran: files by the real writers, figures that tests can add up."""
import contextlib
import json

import numpy as np

from magistral_jax import durable, records
from magistral_jax.metrics import MetricsWriter, percentiles
from magistral_jax.orchestration.starts import FILE
from magistral_jax.rollouts import RolloutsWriter, rollout_line

GROUP = 4
CONFIG = dict(
    seed=0, total_steps=6, data=dict(source='arithmetic'), sampler=dict(group_size=GROUP, slots=8),
    stages=dict(order='longer'), runtime=dict(mode='threads'))
# What a model may write: none of it may do anything but stand there.
HOSTILE = ('</script><script>document.title="owned"</script><img src=x onerror="alert(1)">'
           '&lt;b&gt; &amp; {{ 7*7 }} {% raw %} \x00\x07\x1b[31m \u202eevil\u202c \u200b\ufeff '
           '\ud800 \u2028 <!-- --> `${1}` \U000e0041 ]]> ñ 日本 😀')
STATUSES = ('correct', 'wrong', 'bad_format')


def make(workdir, *, updates=6, groups=3, finished=True, seed=0, gain=0.0, evaluations=True,
         changes=(), text=None, ended='finished'):
  """Writes a run: of each update so many trained groups, a filtered one, and a stale one at times.

  Args:
    gain: what is added to rewards; changes: keys of the config that differ, by section.
    text: (ordinal, sample) -> the text of a completion.
    ended: how its start ended; '' was killed.
  """
  random = np.random.default_rng(seed)
  workdir.mkdir(parents=True, exist_ok=True)
  config = json.loads(json.dumps(CONFIG))
  for section, key, value in changes:
    config[section][key] = value
  durable.write_json(workdir / 'experiment.json', dict(config=config, model=dict(layers=3)))
  _starts(workdir, ended)
  lengths, counts, ordinal = [], dict.fromkeys(records.FATES, 0), 0
  with contextlib.closing(RolloutsWriter(workdir)) as rollouts, MetricsWriter(workdir) as metrics:
    if evaluations:
      metrics.write_stage('start', 0, _evaluation(random, 0.1), 0)
    for step in range(1, updates + 1):
      fates = ['trained'] * groups + ['filtered'] + ['stale'] * (step % 3 == 0)
      for fate in fates:
        lines = _group(random, ordinal, fate, step, gain + step / (2 * updates), text)
        rollouts.write_all(lines)
        lengths += [line['n_tokens'] for line in lines]
        counts[fate] += 1
        ordinal += 1
      metrics.write(step, _line(random, step, updates, counts, lengths, gain))
      if step == updates // 2:
        metrics.write_decision(dict(stage='longer', step=step, opens=True, reason='plateau'))
    if evaluations and finished:
      metrics.write_stage('final', updates, _evaluation(random, 0.5 + gain), updates)
  if finished:
    durable.write_json(workdir / 'summary.json', dict(
        steps=updates, wall_s=10.0 * updates, completions=len(lengths),
        completions_spanning_versions=len(lengths) // 2, accuracy_start=0.1, accuracy_start_se=0.03,
        accuracy_final=0.5 + gain, accuracy_final_se=0.05, tokens_discarded=0.1,
        time_s=dict(waiting=4.0 * updates, training=5.0 * updates, other=1.0 * updates)))
  return workdir


def _starts(workdir, ended):
  start = dict(at='2026-11-30T09:00:00+00:00', devices='8 cpu', machine='test', python='3.11',
               command=['train', '--config=a.py', '--config.total_steps=6', '--workdir=w'],
               commit='0123456789', changed=False, packages=dict(jax='0.10'))
  lines = [start] + ([dict(at='2026-11-30T09:10:00+00:00', ended=ended, why='')] if ended else [])
  (workdir / FILE).write_text(''.join(json.dumps(line) + '\n' for line in lines))


def _evaluation(random, accuracy, problems=40):
  right = (random.random(problems) < accuracy).astype(float)
  return {'eval/accuracy': float(right.mean()), 'eval/version': 0, 'eval/tokens_mean': 30.0,
          'eval/accuracy_se': float(right.std(ddof=1) / problems ** 0.5),
          'eval/per_problem': [[f'h{i}', value] for i, value in enumerate(right.tolist())]}


def _group(random, ordinal, fate, step, solved, text):
  problem = records.Problem(
      f'p{ordinal}', f'What is {ordinal} + 1?', str(ordinal + 1), 'made',
      domain='code' if ordinal % 5 == 4 else 'math', language='fr' if ordinal % 7 == 6 else 'en')
  prompt = records.Prompt(ordinal, problem, np.zeros(8, np.int32))
  right = random.random(GROUP) < solved
  if fate == 'filtered':
    right[:] = True
  lines = []
  for sample in range(GROUP):
    status = 'correct' if right[sample] else STATUSES[1 + (ordinal + sample) % 2]
    n = int(random.integers(10, 60))
    parts = dict(format=0.1 * (status != 'bad_format'), correct=0.9 * bool(right[sample]))
    written = f'<think>{ordinal} + 1</think>\\boxed{{{ordinal + right[sample]}}}'
    versions = ((0, step - 1), (n // 2, step)) if sample % 2 else ((0, step - 1),)
    completion = records.Completion(
        ordinal, sample, np.zeros(n, np.int32), np.zeros(n, np.float32), versions, 'stop',
        text(ordinal, sample) if text else written, 0.5)
    verdict = records.Verdict(
        status, sum(parts.values()), parts, answer=str(ordinal + right[sample]),
        detail='' if right[sample] else 'another number')
    # Of every tenth group, as if a run had recorded them: each token is a word.
    tokens = dict(texts=[f'<{i}> ' for i in range(n)], logp=[-0.2 * i for i in range(n)],
                  gap=[(-1) ** i * 0.0004 * 10 ** (i / 2) for i in range(n)])
    lines.append(rollout_line(prompt, completion, verdict, float(right[sample]) - 0.5, fate, step,
                              None if ordinal % 10 else tokens))
  return lines


def _line(random, step, updates, counts, lengths, gain):
  reward = 0.2 + 0.6 * step / updates + gain
  noisy = lambda x, by=0.05: float(x + by * random.standard_normal())
  return dict(
      version=step, wall_s=10.0 * step, reward=noisy(reward), accuracy=noisy(reward - 0.05),
      trained_reward=noisy(reward - 0.1), part_format=0.1, part_correct=noisy(reward - 0.1),
      entropy=noisy(1.0 - 0.5 * step / updates), clip_fraction_low=0.001 * step,
      clip_fraction_high=0.002 * step, grad_norm=noisy(1.0, 0.2), staleness_mean=1.2,
      staleness_max=3,
      staleness_p10=0.0, staleness_p90=2.0, logprob_gap_mean=1e-6, logprob_gap_max=3e-5,
      sampled_tokens_per_s=noisy(3000, 200), trained_tokens_per_s=noisy(9000, 900),
      open_sequences=8, slots_idle=0.1, tokens_discarded=0.05, train_s=5.0, publish_s=0.1,
      verifier=dict(queue_depth=step % 4, restarts=1, errors=0, timeouts=2, memory=0),
      time_s=dict(waiting=4.0 * step, training=5.0 * step, other=float(step)), skipped_updates=0,
      failed_saves=0, preemptions=0, **percentiles('completion_tokens', lengths),
      **{f'groups_{fate}': count for fate, count in counts.items()})
