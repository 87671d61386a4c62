"""Every leg is a command that its program takes, and finds there what legs before it have left."""
import re

import pytest

from magistral_jax import __main__, miniature
from magistral_jax.experiment import cli, values
from magistral_jax.recipe.legs import DOMAINS, MODELS, Plan, legs

PLAN = Plan('here', 'configs', seed=7, scale=1.0)
LEGS = legs(PLAN)


def test_legs_are_commands_with_names_of_their_own():
  assert len({leg.name for leg in LEGS}) == len(LEGS)
  assert {leg.command[0] for leg in LEGS} <= set(__main__.COMMANDS)


def test_configs_take_what_the_legs_change():
  for leg in LEGS:
    if any(argument.startswith('--config=') for argument in leg.command):
      c = cli.read_config([leg.command[0], *leg.command[1:]])
      values.check_limits(c)
      assert c.seed == 7 and c.tokenizer.path == 'here/world', leg.name


def test_a_leg_reads_what_legs_before_it_wrote():
  """Folders and files below the output, by their first part."""
  written = set()
  for leg in LEGS:
    own = set(re.findall(r'--(?:workdir|output)=here/([\w]+)', ' '.join(leg.command)))
    named = set(re.findall(r'here/(\w+)', ' '.join(leg.command)))
    assert named - own <= written, leg.name
    assert leg.product.split('.')[0].split('/')[0] in own, leg.name
    written |= own


def test_no_path_of_a_config_is_left_to_the_default():
  for leg in LEGS:
    if leg.command[0] in ('train', 'sft'):
      c = cli.read_config([leg.command[0], *leg.command[1:]])
      assert [key for key, value in values.flat(c)
              if isinstance(value, str) and value.startswith('runs/')] == [], leg.name


def test_all_models_are_evaluated_alike_but_for_their_config():
  commands = [leg.command for leg in LEGS if leg.command[0] == 'evaluate']
  apart = ('--config=', '--checkpoint=', '--output=')
  assert len(commands) == len(MODELS)
  assert len({tuple(a for a in command if not a.startswith(apart)) for command in commands}) == 1


@pytest.mark.parametrize('domain', DOMAINS)
def test_transfer_trains_on_one_domain(domain):
  command = next(leg.command for leg in LEGS if leg.name == f'{domain}_only')
  c = cli.read_config([command[0], *command[1:]])
  assert {name for name, part in c.data.mix.items() if part.weight} == {domain}


@pytest.mark.parametrize('names, scale, words', [
    ('trace', 1.0, "'trace' is no leg (did you mean traces?)"),
    ('', 0.0, '--scale=0.0 must be above 0'),
])
def test_bad_arguments_are_refused(names, scale, words):
  with pytest.raises(ValueError, match=re.escape(words)):
    miniature.chosen(Plan('here', 'configs', 0, scale), names)


def test_legs_are_chosen_in_their_order():
  assert [leg.name for leg in miniature.chosen(PLAN, 'traces,world')] == ['world', 'traces']
