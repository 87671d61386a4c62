"""Our own commands that ask a served model, against our own server."""
import json

import pytest

from magistral_jax import curate, evaluate, rate
from magistral_jax.metrics import read_lines
from tests import tiny
from tests.serving.conftest import SlowEngine, running
from tests.serving.letters import EOS, Letters


class Letter(Letters):
  """A token, never the end, for every letter of any text."""

  def encode(self, text):
    return [i + (i >= EOS) for i in (ord(letter) % (self.vocab_size - 1) for letter in text)]


@pytest.fixture(scope='module')
def served():
  """A server that takes long prompts, and the flags that name it."""
  engine = SlowEngine(slots=8, pages=8 * 330, page_tokens=16, slot_pages=320, decode_steps=8)
  with running(engine, tokenizer=Letter(), queue=64) as found:
    yield [f'--endpoint=http://127.0.0.1:{found.address[1]}/v1', '--model=fake',
           '--endpoint_attempts=1', '--endpoint_concurrency=4']
    found.assert_all_returned()


def problems(path, count=3):
  path.write_text(''.join(json.dumps(dict(
      id=f'p{n}', problem=f'A farmer has {n} red sheep. How many sheep are there on the farm?',
      answer=str(n))) + '\n' for n in range(count)))
  return path


def test_a_benchmark_is_answered(tmp_path, served):
  evaluate.main(evaluate.parse([
      'evaluate', '--benchmark=math500', f'--data={problems(tmp_path / "math500.jsonl")}', *served,
      f'--output={tmp_path}/out', '--samples=2', '--max_tokens=20',
      '--config.runtime.verifier_workers=1']))
  found = json.loads((tmp_path / 'out/results.json').read_text())['math500']
  assert (found['items'], found['missing'], found['failed']) == (3, 0, 0)
  lines = read_lines(tmp_path / 'out/responses.jsonl')
  assert len(lines) == 6 and all(1 <= line['tokens'] <= 20 for line in lines)
  assert len({line['response'] for line in lines}) == 6


@pytest.mark.long
def test_choices_are_told_by_their_log_probabilities(tmp_path, served):
  (tmp_path / 'piqa.jsonl').write_text(json.dumps(dict(
      goal='Open a jar', sol1='turn it', sol2='eat it', label=0)) + '\n')
  evaluate.main(evaluate.parse([
      'evaluate', '--benchmark=piqa', f'--data={tmp_path}/piqa.jsonl', *served,
      f'--output={tmp_path}/out', '--config.runtime.verifier_workers=1']))
  found = json.loads((tmp_path / 'out/results.json').read_text())['piqa']
  assert (found['items'], found['missing'], found['failed']) == (1, 0, 0)


@pytest.mark.long
def test_problems_are_rated(tmp_path, served):
  args = rate.parse(['rate', f'--config={tiny.CONFIGS}/quickstart.py', '--samples=3', *served,
                     f'--input={problems(tmp_path / "in.jsonl")}', f'--output={tmp_path}/out'])
  args.config = tiny.shrink(tiny.load())
  rate.main(args)
  assert [(line['id'], line['samples']) for line in read_lines(tmp_path / 'out')] == [
      (f'p{n}', 3) for n in range(3)]


@pytest.mark.long
def test_problems_are_curated(tmp_path, served):
  curate.main(curate.parse([
      'curate', 'translate', f'--input={problems(tmp_path / "in.jsonl")}', '--languages=fr',
      f'--output={tmp_path}/out', '--share=1', '--endpoint_timeout_s=60', *served]))
  # What the fake model says is no French; every row has its fate.
  kept, dropped = (read_lines(tmp_path / 'out' / name)
                   for name in ('problems.jsonl', 'dropped.jsonl'))
  assert {row['id'] for row in kept} | {row['id'] for row in dropped} >= {'p0', 'p1', 'p2'}
