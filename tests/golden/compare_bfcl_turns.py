"""Holds our verdicts on several turns of BFCL against those of the published checker.

    pip download --no-deps bfcl-eval==2026.3.23 && unzip bfcl_eval-*.whl -d FOLDER
    PYTHONPATH=.:FOLDER python tests/golden/compare_bfcl_turns.py FOLDER [MUTATIONS] [FIRST] [LAST]

Every conversation of the base category is answered by its published calls, and by calls that are
left out, doubled, put into another turn or given other values, all drawn by a seed. The published
checker makes those of each response in this process. Prints how many verdicts are the same, and
every one that is not; fails where there are any.
"""
import json
import pathlib
import random
import sys

from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_checker

from magistral_jax.evaluation import items
from magistral_jax.evaluation.cards import CARDS

CARD = CARDS['bfcl_multi_turn']


def written(call, parameters):
  """A call as a model writes it, with all arguments by name."""
  named = dict(zip(parameters.get(call.name, ()), call.unnamed, strict=False)) | call.named
  return f'{call.name}({", ".join(f"{key}={value!r}" for key, value in named.items())})'


def parameters(folder):
  """{function: names of its parameters in their order}."""
  return {row['name']: list(row['parameters']['properties'])
          for path in (folder / 'bfcl_eval/data/multi_turn_func_doc').glob('*.json')
          for row in map(json.loads, path.read_text('utf-8').splitlines())}


def mutated(called, draw):
  """Turns of calls, one of them changed; the first of the kinds changes nothing."""
  found = [list(turn) for turn in called]
  turn = draw.choice([n for n, own in enumerate(found) if own])
  place = draw.randrange(len(found[turn]))
  call = found[turn][place]
  kind = draw.choice(('left out', 'doubled', 'moved', 'value', 'name', 'swapped', 'empty', 'more'))
  if kind == 'left out':
    del found[turn][place]
  elif kind == 'doubled':
    found[turn].insert(place, call)
  elif kind == 'moved':
    found[draw.randrange(len(found))].append(found[turn].pop(place))
  elif kind == 'swapped':
    draw.shuffle(found[turn])
  elif kind == 'empty':
    found[turn] = []
  elif kind == 'more':
    found[turn].append(draw.choice([one for own in called for one in own]))
  elif kind == 'name':
    found[turn][place] = call._replace(name=draw.choice(('pwd', 'ls', call.name + '_')))
  elif call.named:
    key = draw.choice(list(call.named))
    other = draw.choice(('other', 7, -1.5, True, None, ['a'], ''))
    found[turn][place] = call._replace(named=call.named | {key: other})
  return kind, found


def published(row, truth, called, name):
  """The published checker's verdict on turns of lists of calls."""
  return multi_turn_checker.multi_turn_checker(
      called, truth, row, 'multi_turn_base', name)['valid']


def main(folder, mutations=4, first=0, last=200):
  folder = pathlib.Path(folder)
  path = folder / 'bfcl_eval/data/BFCL_v4_multi_turn_base.json'
  lines = lambda path: [json.loads(line) for line in path.read_text('utf-8').splitlines()]
  truths = {row['id']: row['ground_truth'] for row in lines(path.parent / 'possible_answer'
                                                            / path.name)}
  rows = {row['id']: row for row in lines(path)}
  names, count, same, right = parameters(folder), 0, 0, 0
  for item in items.read_items(CARD, str(path))[int(first):int(last)]:
    draw = random.Random(item.id)
    drawn = [('published', item.data['truth'])] + [
        mutated(item.data['truth'], draw) for _ in range(int(mutations))]
    for number, (kind, called) in enumerate(drawn):
      # Steps of one or of all calls of a turn: how many there are changes no verdict.
      size = draw.choice((1, 99))
      texts = [[written(call, names) for call in turn] for turn in called]
      steps = [[turn[i:i + size] for i in range(0, len(turn), size)] for turn in texts]
      response = [[f'[{", ".join(step)}]' for step in turn] + ['Done.'] for turn in steps]
      theirs = published(rows[item.id], truths[item.id], steps, f'model{number}')
      ours = CARD.grade(item, json.dumps(response))
      count, right = count + 1, right + theirs
      same += (ours.status == 'correct') == theirs
      if (ours.status == 'correct') != theirs:
        print(item.id, kind, f'theirs {theirs}, ours {ours.status}: {ours.detail}', texts)
  print(f'{count} responses to conversations {first} to {last}, {right} right, {same} verdicts '
        f'the same')
  assert same == count


if __name__ == '__main__':
  main(*sys.argv[1:])
