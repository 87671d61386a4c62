"""--help fits the terminal: prose is filled, examples stay, commands can still be pasted."""
import shlex

import pytest

from magistral_jax import command_line, help_text

TEXT = """Does one thing, and says in a line of seventy columns or so what that is.

    python -m magistral_jax.one --config=configs/quickstart.py [--output=answers.jsonl] \\
        --first='1 2' -d 'a b' | --second=2
    {"id": "a",   "answer": 1}

Words that go on over two lines, of which
the second --one begins
--with a flag.
"""


def words(command):
  """What a shell makes of a command."""
  return shlex.split(command.replace('\\\n', ' '))


def test_prose_is_filled_and_examples_stay():
  lines = help_text.fitted(TEXT, 60).splitlines()
  assert max(map(len, lines)) <= 60 and '    {"id": "a",   "answer": 1}' in lines
  assert lines[:2] == ['Does one thing, and says in a line of seventy columns or so',
                       'what that is.']
  assert lines[-2:] == ['Words that go on over two lines, of which the second --one',
                        'begins --with a flag.']
  assert help_text.fitted(TEXT, 200).splitlines()[0] == TEXT.splitlines()[0]


@pytest.mark.parametrize('width', [40, 60, 80, 100])
def test_a_broken_command_is_the_same_command(width):
  given = TEXT.split('\n\n')[1].rpartition('\n')[0]      # Without the line behind it.
  broken = help_text.fitted(given, width)
  assert words(broken) == words(given)
  assert max(len(line) for line in broken.splitlines()[1:]) <= width


def test_usage_names_what_must_be_given_alone(capsys, monkeypatch):
  parser = command_line.ArgumentParser(prog='one', description=TEXT)
  parser.add_argument('--to', required=True)
  parser.add_argument('what', choices=['a', 'b'])
  parser.add_argument('--other')
  with pytest.raises(SystemExit):
    parser.parse_args(['--help'])
  said = capsys.readouterr().out
  assert said.startswith('usage: one --to=TO {a,b} [--flag=value ...]\n')
  assert '    {"id": "a",   "answer": 1}' in said and '--other OTHER' in said
  monkeypatch.setenv('COLUMNS', '30')
  assert help_text.usage(parser) == 'usage: one --to=TO {a,b}\n    [--flag=value ...]'
