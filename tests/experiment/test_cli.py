"""A mistake on the command line is one sentence and exit status 2."""
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from magistral_jax import command_line
from magistral_jax.experiment import cli

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = '--config=configs/quickstart.py'


def command(name, *arguments):
  """What `python -m magistral_jax.<name>` ended with."""
  return subprocess.run(
      [sys.executable, '-m', f'magistral_jax.{name}', *arguments], cwd=ROOT, text=True,
      capture_output=True, timeout=300)


@pytest.mark.parametrize('name, arguments, words', [
    ('train', [QUICKSTART, '--config.loss.clip_hihg=0.3', '--workdir=unused'],
     'error: --config.loss.clip_hihg=0.3 changes a key that the config does not have (did you mean '
     'loss.clip_high?): correct its name.\n'),
    ('evaluate', [QUICKSTART, '--checkpont=runs/quickstart'],
     'error: --checkpont is no flag of this command (did you mean checkpoint?); --help lists '
     'them.\n'),
    ('score', ['--checkpoint=nowhere', '--input=texts.jsonl'],
     'error: the following arguments are required: --output; --help lists the arguments.\n'),
    ('data.builders.stories', [],
     'error: --output is missing: The JSONL to write; --help lists all flags.\n'),
    ('data.builders.stories', ['--output=tests'],
     'error: tests cannot be written (Is a directory): repair that, or make room there, and give '
     'the same command again.\n'),
    ('data.builders.stories', ['--output=unused', '--problems=many'],
     'error: --problems=many must be a positive integer.\n'),
    ('train', [QUICKSTART, '--dry_run', '--config.sampler.slots=0'],
     'error: sampler.slots=0 must be a whole number of at least 1.\n'),
])
def test_a_mistake_ends_the_program_in_one_sentence(name, arguments, words):
  ended = command(name, *arguments)
  status = 1 if 'cannot be written' in words else 2
  assert (ended.returncode, ended.stderr, ended.stdout) == (status, words, '')
  assert not (ROOT / 'unused').exists()


@pytest.mark.parametrize('name', ['missing', ''])
def test_a_flag_file_that_cannot_be_read_is_a_mistake(tmp_path, capsys, name):
  with pytest.raises(SystemExit) as ended:
    cli.parse_flags(['train', f'--flagfile={tmp_path / name}'])
  said = capsys.readouterr().err
  assert ended.value.code == 2 and said.count('\n') == 1
  assert said.startswith('error: Unable to open flagfile: ') and str(tmp_path) in said


def test_a_dry_run_shows_what_the_command_line_changed():
  ended = command('train', QUICKSTART, '--dry_run', '--config.loss.clip_high=0.3',
                  '--noconfig.model.tied', '--config.optimizer.learning_rate', '1e-4')
  assert ended.returncode == 0, ended.stderr
  for words in ('clip_high: 0.3', 'tied: false', 'learning_rate: 0.0001', 'together'):
    assert words in ended.stdout, words


@pytest.mark.parametrize('arguments, words', [
    ([], '--config is missing: name an experiment, such as --config=configs/quickstart.py.'),
    (['--config='], '--config is missing'),
    (['--config.loss.clip_high=0.3'], '--config is missing'),
    (['--config=nowhere.py'], "--config='nowhere.py' does not exist: name an experiment"),
    ([f'--config={ROOT}/configs'], 'is a folder: name a file in it, such as {ROOT}/configs/q'),
    (['--config', 'nowhere.py'], "--config='nowhere.py' does not exist"),
    ([f'--config={ROOT}/configs/smollm2_maths.py'], 'such as {ROOT}/configs/smollm2_math.py.'),
])
def test_a_config_must_be_named_and_exist(arguments, words):
  with pytest.raises(ValueError) as error:
    cli.read_config(['train', *arguments])
  assert words.format(ROOT=ROOT) in str(error.value)


@pytest.mark.parametrize('arguments, words', [
    (['--config.loss.clip_hihg=0.3'], r'did you mean loss.clip_high?'),
    (['--config.clip_high=0.3'], 'did you mean loss.clip_high?'),
    (['--config.loss.clip_high.more=0.3'], 'changes a key that the config does not have'),
    (['--config.loss={}'], '--config.loss={} would replace a whole section'),
    (['--config.sampler.slots=3.5'],
     '--config.sampler.slots=3.5 must be a whole number of at least 1.'),
    (['--config.sampler.slots=many'], '--config.sampler.slots=many must be a whole number'),
    (['--config.sampler.slots'], '--config.sampler.slots has no value'),
    (['--config.sampler.slots', '--dry_run'], '--config.sampler.slots has no value'),
    (['--config.sampler.slots', '=', '3'], 'write --config.sampler.slots=128, for example, with'),
    (['--loss.clip_high=0.3'], 'is a key of the config: write --config.loss.clip_high=VALUE'),
    (['loss.clip_high=0.3'], 'is a key of the config: write --config.loss.clip_high=VALUE'),
    (['--config.loss.clip_high=high'], '--config.loss.clip_high=high must be a finite number'),
    (['--config.model.tied=perhaps'], '--config.model.tied=perhaps must be true or false'),
])
def test_an_override_must_fit_the_config(arguments, words):
  with pytest.raises(ValueError) as error:
    cli.read_config(['train', f'--config={ROOT}/configs/quickstart.py', *arguments])
  assert words in str(error.value)


@pytest.mark.parametrize('arguments', [
    ['--config.loss.clip_high=0.3'], ['-config.loss.clip_high', '0.3'], ['--config.seed=0x10'],
    ['--config.loss.entropy_coef', '-0.1'], ['--config.model.tied'], ['--noconfig.model.tied'],
    ['--config.model.checkpoint='], ['--config.data.system_prompt=a=b\nc'], ['--workdir=x']])
def test_overrides_that_fit_pass(arguments):
  cli.read_config(['train', f'--config={ROOT}/configs/quickstart.py', *arguments])


@pytest.mark.parametrize('text, words', [
    ('import mlc', 'line 1 cannot be loaded: it raised ModuleNotFoundError'),
    ('def get_config():\n  return 1 / 0', 'line 2 cannot be loaded: it raised ZeroDivisionError'),
    ('def get_config(:', 'it raised SyntaxError'),
    ('x = 1', 'it has no function get_config()'),
    ('def get_config():\n  return {}', 'must return an ml_collections.ConfigDict, not dict'),
])
def test_a_config_file_that_fails_says_where(tmp_path, text, words):
  path = tmp_path / 'broken.py'
  path.write_text(text)
  with pytest.raises(ValueError) as error:
    cli.load_config(str(path))
  assert words in str(error.value)


def test_a_folder_is_made_or_refused_by_the_name_of_its_flag(tmp_path):
  assert cli.folder('workdir', str(tmp_path / 'a' / 'b')).is_dir()
  (tmp_path / 'file').write_text('')
  for path, words in ((None, '--workdir is missing'), (str(tmp_path / 'file'), 'cannot be made'),
                      (str(tmp_path / 'file' / 'below'), 'cannot be made')):
    with pytest.raises(ValueError, match=words):
      cli.folder('workdir', path)


def test_a_terminal_breaks_a_sentence_between_words_and_a_file_does_not(monkeypatch):
  monkeypatch.setenv('COLUMNS', '30')
  sentence = 'error: words that go on over more columns than there are.'
  told = []
  for terminal in (True, False):
    file = io.StringIO()
    file.isatty = lambda terminal=terminal: terminal
    command_line.tell(sentence, file)
    told.append(file.getvalue())
  assert told == ['error: words that go on over\nmore columns than there are.\n', f'{sentence}\n']


def test_one_sentence_is_one_line_and_exit_status_2(capsys):
  with pytest.raises(SystemExit) as ended, command_line.one_sentence():
    raise ValueError('first\n  second.')
  assert ended.value.code == 2
  assert capsys.readouterr().err == 'error: first second.\n'


def test_a_config_is_read_without_absl():
  c = cli.read_config([
      'verify', '--input=x', f'--config={ROOT}/configs/quickstart.py', '--noconfig.model.tied',
      '--config.loss.clip_high=0.5', '--config.seed', '7', '--config.verifiers.language=0.1',
      '--config.verifiers.language_model=lid.bin'])
  assert (c.loss.clip_high, c.model.tied, c.seed, c.verifiers.language_model) == (
      0.5, False, 7, 'lid.bin')
  assert cli.read_config(['verify', '--input=x'], optional=True) is None
  with pytest.raises(ValueError, match='--config is missing'):
    cli.read_config(['verify', '--config.seed=7'], optional=True)
  changed = cli.read_config(['verify', '--config.verifiers.format=0.2'],
                            default=ConfigDict(dict(verifiers=dict(format=0.1))))
  assert changed.verifiers.format == 0.2
  with pytest.raises(ValueError, match='must be a whole number'):
    cli.read_config(['verify', f'--config={ROOT}/configs/quickstart.py', '--config.seed=x'])


def test_a_folder_is_kept_from_others_until_it_is_left(tmp_path, monkeypatch):
  with (cli.claimed('workdir', tmp_path), pytest.raises(ValueError, match='is in use by another'),
        cli.claimed('workdir', tmp_path)):
    raise AssertionError('two are in it')
  with cli.claimed('workdir', tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('')
  monkeypatch.setattr(cli.os, 'access', lambda file, mode: file.name != 'metrics.jsonl')
  with (pytest.raises(ValueError, match=r'cannot be written \(Permission denied: metrics.jsonl\)'),
        cli.claimed('workdir', tmp_path)):
    raise AssertionError('it cannot be written')


def test_an_interrupted_program_says_so_and_no_more():
  # In the background of a shell that has no job control, programs are born deaf to it.
  code = ('import os, signal\nfrom magistral_jax.experiment import cli\n'
          'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
          'cli.run(lambda _: os.kill(os.getpid(), signal.SIGINT), parse=lambda argv: argv)')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                        timeout=240)
  assert (done.returncode, done.stderr) == (130, 'Interrupted.\n')


def test_a_reader_that_ends_early_is_no_failure():
  program = ("from magistral_jax import command_line\n"
             "def main(_):\n"
             "  for _ in range(30_000):\n"
             "    {}('words')\n"
             "command_line.run(main)\n")
  for printed, status in (('print', 141), ('command_line.tell', 0)):
    child = subprocess.Popen([sys.executable, '-c', program.format(printed)], cwd=ROOT,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == 'words\n'
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == ('', status)
    child.stderr.close()


def test_letters_that_a_terminal_does_not_know_end_nothing():
  code = ('from magistral_jax.experiment import cli\n'
          'cli.run(lambda _: print("0.5 \\u00b1 0.1"), parse=lambda argv: argv)')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                        timeout=240, env=os.environ | dict(PYTHONIOENCODING='ascii'))
  assert (done.returncode, done.stdout) == (0, '0.5 ? 0.1\n')


def test_a_dry_run_shows_the_shape_of_a_config_whose_files_are_not_there():
  ended = command('train', '--config=configs/magistral_small_rl.py', '--dry_run')
  assert ended.returncode == 0, ended.stderr
  for words in ('Memory (23,572,403,200 parameters', 'trainer: optimizer moments',
                'name model.checkpoint or tokenizer.path, data.jsonl.path to check them, too.'):
    assert words in ended.stdout, words
  ended = command('train', '--config=configs/magistral_small_rl.py', '--workdir=unused')
  assert ended.returncode == 2 and 'set data.jsonl.path' in ended.stderr


def test_the_config_of_a_command_is_told_as_a_shell_takes_it_again():
  told = cli.config_arguments([
      'train', '--config=my configs/a.py', '--workdir=w', '--config.seed', '3',
      "--config.data.system_prompt=don't"])
  assert shlex.split(told) == ['--config=my configs/a.py', '--config.seed=3',
                               "--config.data.system_prompt=don't"]
