"""Holds our cards against lm-eval on the same model and items: log-probabilities, and IFEval.

    python -m magistral_jax.convert --from=MODEL --to=FOLDER --format=hf
    python -m magistral_jax.evaluate --benchmark=arc_easy,hellaswag,piqa,winogrande,mmlu \\
        --data=DATA --output=OUT --checkpoint=MODEL --config=...
    PEERS/bin/python tests/golden/compare_lm_eval.py --data=DATA --output=OUT --model=FOLDER

PEERS is an environment with lm-eval 0.4.13 and torch. DATA has <card>.jsonl in the published form,
for mmlu mmlu_test.jsonl and mmlu_dev.jsonl of one subject. Prompts, choices and figures are those
of the tasks as that package has them; only their data comes from the files. Prints, for each card,
the largest difference between log-probabilities of a choice, items with the same answer, and both
accuracies; the end is one line of JSON. It fails where an answer differs, or a log-probability by
more than TOLERANCE: what float32 in another order makes of sums of hundreds of nats.

For ifeval, --cards=ifeval, our responses are graded there: every instruction of each must be
followed for both graders, or for none, strictly and loosely. Their rows have "key", and NLTK_DATA
names a folder as in make_ifeval.py. The model writes, too, at most --max_tokens=N, and how many of
its texts are ours is printed: for ours with --temperature=0, --max_tokens=N and
--config.data.system_prompt as its own chat template has it. With --model=dummy none writes.
"""
import argparse
import json
import os
import pathlib

os.environ |= dict(HF_HUB_OFFLINE='1', HF_DATASETS_OFFLINE='1')     # Read as they are imported.

import langdetect
import lm_eval
import lm_eval.tasks
from lm_eval.tasks import _yaml_loader as loader

TOLERANCE = 2e-3                # Nats.
# Card -> file of the task.
TASKS = dict(
    arc_easy='arc/arc_easy.yaml', arc_challenge='arc/arc_challenge.yaml',
    hellaswag='hellaswag/hellaswag.yaml', piqa='piqa/piqa.yaml',
    winogrande='winogrande/default.yaml',
    mmlu='mmlu/default/mmlu_high_school_mathematics.yaml', ifeval='ifeval/ifeval.yaml')


def task(card, data):
  """The task of a card as a config whose data are files."""
  root = pathlib.Path(lm_eval.tasks.__file__).parent
  found = loader.load_yaml(root / TASKS[card])
  test = f'{data}/{card}{"_test" if card == "mmlu" else ""}.jsonl'
  files = dict(test=test, validation=test, train=test)
  if card == 'mmlu':
    files['dev'] = f'{data}/mmlu_dev.jsonl'
  return found | dict(
      dataset_path='json', dataset_name=None, dataset_kwargs=dict(data_files=files),
      num_fewshot=5 if card == 'mmlu' else 0)


def ours(output, card):
  """Lines of our responses in the order of the items, and our figures."""
  with open(f'{output}/responses.jsonl', encoding='utf-8') as file:
    lines = [line for line in map(json.loads, file) if line['benchmark'] == card]
  with open(f'{output}/results.json', encoding='utf-8') as file:
    return lines, json.load(file)[card]


def theirs(card, args):
  """Their samples in the order of the items, and their figures."""
  model = dict(model='dummy')
  if args.model != 'dummy':
    model = dict(model='hf', model_args=f'pretrained={args.model},dtype=float32')
    if card == 'ifeval':
      model |= dict(apply_chat_template=True, gen_kwargs=f'max_gen_toks={args.max_tokens}')
  said = lm_eval.simple_evaluate(
      **model, tasks=[task(card, args.data)], device='cpu', batch_size=args.batch,
      log_samples=True, bootstrap_iters=0)
  (samples,), (results,) = said['samples'].values(), said['results'].values()
  return sorted(samples, key=lambda sample: sample['doc_id']), results


def compare(card, args):
  """Our log-probabilities of a card beside theirs."""
  samples, results = theirs(card, args)
  lines, figures = ours(args.output, card)
  pairs = [(json.loads(line['response']), [float(one[0][0]) for one in sample['resps']])
           for line, sample in zip(lines, samples, strict=True)]
  apart = max(abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True))
  best = lambda logps: max(range(len(logps)), key=logps.__getitem__)
  same = sum(best(x) == best(y) for x, y in pairs)
  return dict(items=len(pairs), choices=sum(len(x) for x, _ in pairs),
              largest_difference=round(apart, 6), same_answer=same,
              acc=[figures['acc'], results['acc,none']],
              acc_norm=[figures['acc_norm'], results.get('acc_norm,none')],
              agree=same == len(pairs) and apart <= TOLERANCE)


def compare_ifeval(card, args):
  """Our verdicts on our responses beside theirs, and both models' texts."""
  # Imported here, since it looks for the data of nltk.
  from lm_eval.tasks.ifeval import utils
  langdetect.DetectorFactory.seed = 0       # Theirs leaves it to chance.
  samples, _ = theirs(card, args)
  lines, figures = ours(args.output, card)
  found = dict(items=len(lines), same_text=sum(
      line['response'].strip() == sample['resps'][0][0].strip()
      for line, sample in zip(lines, samples, strict=True)))
  graded = [utils.process_results(sample['doc'], [line['response']])
            for line, sample in zip(lines, samples, strict=True)]
  for level in ('strict', 'loose'):
    both = [(line[f'followed_{level}'], list(one[f'inst_level_{level}_acc']))
            for line, one in zip(lines, graded, strict=True)]
    flags = [flag for _, said in both for flag in said]
    found[f'same_{level}'] = sum(a == b for x, y in both for a, b in zip(x, y, strict=True))
    found[f'prompt_{level}'] = [figures[f'prompt_{level}'], sum(
        all(said) for _, said in both) / len(both)]
    found[f'instruction_{level}'] = [figures[f'instruction_{level}'], sum(flags) / len(flags)]
  return found | dict(instructions=len(flags),
                      agree=found['same_strict'] == found['same_loose'] == len(flags))


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  for name in ('data', 'output', 'model'):
    parser.add_argument(f'--{name}', required=True)
  parser.add_argument('--cards', default=','.join(set(TASKS) - {'ifeval'}))
  parser.add_argument('--max_tokens', type=int, default=256)
  parser.add_argument('--batch', type=int, default=8)
  args = parser.parse_args()
  found = {}
  for card in args.cards.split(','):
    found[card] = (compare_ifeval if card == 'ifeval' else compare)(card, args)
    print(card, found[card], flush=True)
  print(json.dumps(found))
  assert all(one['agree'] for one in found.values()), 'they do not agree'


if __name__ == '__main__':
  main()
