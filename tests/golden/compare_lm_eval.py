"""Holds log-probabilities of our cards against those of lm-eval on the same model and items.

    python -m magistral_jax.convert --from=MODEL --to=FOLDER --format=hf
    python -m magistral_jax.evaluate --benchmark=arc_easy,hellaswag,piqa,winogrande,mmlu \\
        --data=DATA --output=OUT --checkpoint=MODEL --config=...
    PEERS/bin/python tests/golden/compare_lm_eval.py --data=DATA --output=OUT --model=FOLDER

PEERS is an environment with lm-eval 0.4.13 and torch. DATA has <card>.jsonl in the published form,
for mmlu mmlu_test.jsonl and mmlu_dev.jsonl of one subject. Prompts, choices and figures are those
of the tasks as that package has them; only their data comes from the files. Prints, for each card,
the largest difference between log-probabilities of a choice, items with the same answer, and both
accuracies; the end is one line of JSON.
"""
import argparse
import json
import os
import pathlib

import lm_eval
import lm_eval.tasks
from lm_eval.tasks import _yaml_loader as loader

# Card -> (folder and file of the task, name of the task).
TASKS = dict(
    arc_easy=('arc/arc_easy.yaml', 'arc_easy'), hellaswag=('hellaswag/hellaswag.yaml', 'hellaswag'),
    piqa=('piqa/piqa.yaml', 'piqa'), winogrande=('winogrande/default.yaml', 'winogrande'),
    mmlu=('mmlu/default/mmlu_high_school_mathematics.yaml', 'mmlu_high_school_mathematics'))


def task(card, data):
  """The task of a card as a config whose data are files."""
  path, _ = TASKS[card]
  root = pathlib.Path(lm_eval.tasks.__file__).parent
  found = loader.load_yaml(root / path)
  test = f'{data}/{card}{"_test" if card == "mmlu" else ""}.jsonl'
  files = dict(test=test, validation=test, train=test)
  if card == 'mmlu':
    files['dev'] = f'{data}/mmlu_dev.jsonl'
  found |= dict(dataset_path='json', dataset_name=None, dataset_kwargs=dict(data_files=files),
                num_fewshot=5 if card == 'mmlu' else 0)
  return found


def ours(output, card):
  """{place of an item: log-probabilities} of our responses, and our figures."""
  with open(f'{output}/responses.jsonl', encoding='utf-8') as file:
    lines = [line for line in map(json.loads, file) if line['benchmark'] == card]
  with open(f'{output}/results.json', encoding='utf-8') as file:
    return [json.loads(line['response']) for line in lines], json.load(file)[card]


def compare(card, args):
  """Our log-probabilities of a card beside theirs."""
  said = lm_eval.simple_evaluate(
      model='hf', model_args=f'pretrained={args.model},dtype=float32',
      tasks=[task(card, args.data)], device='cpu', batch_size=8, log_samples=True,
      bootstrap_iters=0)
  (samples,), (results,) = said['samples'].values(), said['results'].values()
  samples = sorted(samples, key=lambda sample: sample['doc_id'])
  theirs = [[float(one[0][0]) for one in sample['resps']] for sample in samples]
  found, figures = ours(args.output, card)
  assert len(found) == len(theirs), (len(found), len(theirs))
  apart = max(abs(a - b) for x, y in zip(found, theirs, strict=True)
              for a, b in zip(x, y, strict=True))
  best = lambda logps: max(range(len(logps)), key=logps.__getitem__)
  same = sum(best(x) == best(y) for x, y in zip(found, theirs, strict=True))
  return dict(items=len(found), largest_difference=round(apart, 5), same_answer=same,
              acc=[figures['acc'], results['acc,none']],
              acc_norm=[figures['acc_norm'], results.get('acc_norm,none')])


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  for name in ('data', 'output', 'model'):
    parser.add_argument(f'--{name}', required=True)
  parser.add_argument('--cards', default=','.join(TASKS))
  args = parser.parse_args()
  os.environ |= dict(HF_HUB_OFFLINE='1', HF_DATASETS_OFFLINE='1')
  found = {}
  for card in args.cards.split(','):
    found[card] = compare(card, args)
    print(card, found[card])
  print(json.dumps(found))


if __name__ == '__main__':
  main()
