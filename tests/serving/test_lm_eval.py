"""lm-eval against our server, by tasks of its own form over files of this machine.

It is run as its users run it, by the Python of `tests/clients.sh`, which installs it.
"""
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests import tiny
from tests.serving.test_opening import serving, shrunk

pytestmark = [pytest.mark.long, pytest.mark.skipif(
    not importlib.util.find_spec('lm_eval'), reason='tests/clients.sh installs lm-eval')]

ITEMS = [dict(question='one two', choices=['three', 'one', '1 2 3'], answer=0),
         dict(question='three', choices=['two', '1', '2 two one one'], answer=2)]
TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/items.jsonl}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
CHOICES = """output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
WORDS = """output_type: generate_until
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["3"], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match}]
"""


def lm_eval(folder, name, kind, url, **model):
  """The items of a task as lm-eval has judged them."""
  (folder / 'items.jsonl').write_text(''.join(json.dumps(item) + '\n' for item in ITEMS))
  (folder / f'{name}.yaml').write_text(TASK.format(name=name, folder=folder) + kind)
  given = ','.join(f'{key}={value}' for key, value in dict(base_url=url, **model).items())
  done = subprocess.run(
      [sys.executable, '-m', 'lm_eval', '--model', 'local-chat-completions' if 'chat' in url else
       'local-completions', '--model_args', given, '--tasks', name, '--include_path', str(folder),
       '--log_samples', '--output_path', str(folder / 'out'), '--batch_size', '1',
       *(['--apply_chat_template'] if 'chat' in url else [])],
      env=os.environ | dict(HF_HUB_OFFLINE='1', HF_DATASETS_OFFLINE='1', HF_HOME=str(folder)),
      capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-3000:]
  path, = (folder / 'out').rglob(f'samples_{name}_*.jsonl')
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope='module')
def served(tmp_path_factory):
  path = tmp_path_factory.mktemp('model')
  folder = tiny.write_folder(path)
  (path / 'tokenizer_config.json').write_text(json.dumps(dict(
      tokenizer_class='PreTrainedTokenizerFast', eos_token='<|im_end|>')))
  with serving(shrunk(folder), folder) as (client, opened):
    yield 'http://{}:{}/v1'.format(*client.address), opened, folder


def test_its_log_likelihoods_are_ours_bit_for_bit(served, tmp_path):
  url, opened, folder = served
  samples = lm_eval(tmp_path, 'choices', CHOICES, f'{url}/completions', model='tiny',
                    tokenizer=folder, tokenizer_backend='huggingface')
  assert len(samples) == len(ITEMS)
  for sample, item in zip(sorted(samples, key=lambda one: one['doc_id']), ITEMS, strict=True):
    for (found,), choice in zip(sample['resps'], item['choices'], strict=True):
      encode = opened.model.tokenizer.encode
      tokens, context = encode(f'{item["question"]} {choice}'), len(encode(item['question']))
      (logps, likeliest), = opened.scorer.with_alternatives([tokens], 1)
      greedy = likeliest.tokens[context - 1:, 0].tolist() == tokens[context:]
      assert (float(found[0]), str(found[1])) == (sum(logps.tolist()[context - 1:]), str(greedy))


def test_it_has_conversations(served, tmp_path):
  url, _, _ = served
  samples = lm_eval(tmp_path, 'words', WORDS, f'{url}/chat/completions', model='tiny')
  assert len(samples) == len(ITEMS)
  for sample in samples:
    text, = sample['resps'][0]
    assert len(text.split()) <= 4 and '3' not in text
