"""Calls made on the simulated programs of BFCL, in a process of its own that can be killed.

    python play.py FOLDER CPU_S MEMORY_MB     FOLDER holds the package bfcl_eval as published

Standard input is a pickle of {"classes", "config", "sides"}: names of classes; class -> what its
programs begin with; side -> turns, each a list of steps, each a list of calls (name, arguments
without a name, arguments by name). What the calls say goes to standard output as JSON:
{"said": {side: turns}, "differences": for each turn the attributes that differ between the
programs of the first side and those of the others}.

This file is run by its path and imports nothing of this package. The programs are the published
ones; calls are of values alone, so that nothing a model wrote is run.
"""

import contextlib
import copy
import importlib
import inspect
import io
import json
import pickle
import resource
import sys

PLACE = 'bfcl_eval.eval_checker.multi_turn_eval.func_source_code'
MODULES = dict(
    GorillaFileSystem='gorilla_file_system', MathAPI='math_api', MessageAPI='message_api',
    TwitterAPI='posting_api', TicketAPI='ticket_api', TradingBot='trading_bot',
    TravelAPI='travel_booking', VehicleControlAPI='vehicle_control')


def programs(classes, config):
  """{class: its program at the beginning}."""
  found = {}
  for name in classes:
    found[name] = getattr(importlib.import_module(f'{PLACE}.{MODULES[name]}'), name)()
    if hasattr(found[name], '_load_scenario'):
      found[name]._load_scenario(copy.deepcopy(config.get(name, {})), long_context=False)
  return found


def methods(made):
  """{name: function} of all that can be called; of equal names the last program's."""
  return {name: method for program in made.values()
          for name, method in inspect.getmembers(program, inspect.ismethod)
          if not name.startswith('_')}


def called(known, call):
  """What a call says, as text."""
  name, unnamed, named = call
  try:
    if name not in known:
      raise NameError(f"name '{name.split('.')[0]}' is not defined")
    return shown(known[name](*copy.deepcopy(unnamed), **copy.deepcopy(named)))
  except Exception as error:   # The programs answer mistakes with errors of any kind.
    return f'Error during execution: {error}'


def shown(value):
  """The text of what a program returns: JSON of a dict if it can be, else as Python prints it."""
  if isinstance(value, str):
    return value
  try:
    return json.dumps(value) if type(value) is dict else str(value)
  except (TypeError, ValueError):
    return str(value)


def differences(one, others):
  """The public attributes, as 'class.name', that are not equal in the programs of two sides."""
  return sorted(f'{name}.{key}' for name, program in one.items()
                for key, value in vars(program).items() if not key.startswith('_')
                and any(vars(other[name]).get(key, one) != value for other in others))


def play(classes, config, sides):
  """As the module says."""
  made = {side: programs(classes, config) for side in sides}
  known = {side: methods(own) for side, own in made.items()}
  said, apart = {side: [] for side in sides}, []
  for turn in range(max(map(len, sides.values()), default=0)):
    for side, turns in sides.items():
      said[side].append([[called(known[side], call) for call in step]
                         for step in (turns[turn] if turn < len(turns) else [])])
    first, *others = made.values()
    apart.append(differences(first, others))
  return dict(said=said, differences=apart)


def main():
  folder, *limits = sys.argv[1:]
  cpu_s, memory_bytes = int(limits[0]), int(limits[1]) << 20
  resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
  resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
  sys.path.insert(0, folder)
  given = pickle.load(sys.stdin.buffer)
  with contextlib.redirect_stdout(io.StringIO()):    # Some programs print.
    found = play(**given)
  print(json.dumps(found))


if __name__ == '__main__':
  main()
