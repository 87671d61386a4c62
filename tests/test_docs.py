"""The documents speak of what is there: every file and command, and no key that does not exist."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from magistral_jax import __main__, records
from magistral_jax.experiment import schema
from magistral_jax.metrics import read_lines
from magistral_jax.orchestration import lockstep, report
from magistral_jax.rollouts import rollout_line
from magistral_jax.trainer import step
from tests import fakes

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = __main__.COMMANDS
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text('utf-8') for path in [
    *ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), ROOT / 'configs/README.md',
    ROOT / 'launch/README.md']}
HELP_OF_CONFIG = '--config', 'KEY=VALUE'
TAKE_CONFIG = (
    'train', 'sft', 'evaluate', 'verify', 'rate', 'serve', 'plan', 'simulate')
# The table of words: what each thing is called, and nothing else.
WORDS = (
    'prompt', 'completion', 'group', 'row', 'slot', 'page', 'version', 'staleness', 'advantage',
    'sampler_logp', 'verdict', 'reward part', 'batch', 'minibatch', 'microbatch', 'runtime',
    'role status', 'position', 'coordinates', 'sharding', 'actor', 'toolchain', 'machine',
    'TrainerGang', 'ActorHandle', 'Watchdog', 'WeightSender', 'WeightReceiver', 'transport',
    'fork server', 'reap', 'worker id', 'evaluation', 'image', 'ledger', 'journal', 'harness',
    'manifest', 'lease', 'jail', 'pinned', 'echo')


def keys_named(text):
  """Names such as loss.clip_high in backticks, and overrides such as --config.loss.clip_high=."""
  return re.findall(r'(?:`|--config\.)([a-z_]+(?:\.[a-z_]+)+)(?=[`=])', text)


def links(text):
  return re.findall(r'\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)', text)


def terms(text):
  """First column of the tables of the glossary, several of them separated by commas."""
  rows = re.findall(r'^\| ([^|]+) \|', text, re.MULTILINE)
  return {term.strip() for row in rows for term in row.split(',')}


def mapped(text):
  """Paths of the files in the tables of the code map, each below the folder that its heading names.

  A heading that names no single folder stands for several in magistral_jax/.
  """
  paths, top, folder = [], '', ''
  for line in text.splitlines():
    heading = re.match(r'(##+) ([a-z_]*/)?(?=$|:)', line)
    file = re.match(r'\| `([a-z_0-9/]+\.(?:py|sh|ipynb))` \| \S', line)
    if line.startswith('## '):
      top = folder = heading.group(2) if heading else ''
    elif line.startswith('### '):
      folder = top + (heading.group(2) if heading else '')
    elif file:
      paths.append(folder + file.group(1))
  return paths


def test_every_file_has_its_line_in_the_code_map_and_no_other():
  files = [path.relative_to(ROOT).as_posix() for folder in ('magistral_jax', 'configs', 'launch')
           for path in (ROOT / folder).rglob('*')
           if path.suffix in ('.py', '.sh', '.ipynb') and '__' not in path.name]
  lines = [path for path in mapped(PAGES['docs/code_map.md']) if '/' in path]
  assert sorted(set(files) - set(lines)) == []
  assert sorted(set(lines) - set(files)) == []
  assert len(lines) == len(set(lines))


def test_lines_of_the_code_map_are_read():
  text = ('## a/\n| `b.py` | b |\n### c/: why\n| `d/e.py` | e |\n### f and g\n| `h.py` | h |\n'
          '## To find\n| `i.py` | i |\n')
  assert mapped(text) == ['a/b.py', 'a/c/d/e.py', 'a/h.py', 'i.py']


def test_keys_exist():
  sections = {section.name for section in schema.SECTIONS}
  tops = {key.split('.')[0] for key in schema.KEYS if '.' in key}
  known = lambda name: schema.find(name) or name in sections
  named = [(page, name) for page, text in PAGES.items() for name in keys_named(text)]
  assert [(page, name) for page, name in named if name.split('.')[0] in tops
          and not name.endswith(('.py', '.jsonl', '.md')) and not known(name)] == []
  assert len(named) > 30


@pytest.mark.parametrize('page', sorted(PAGES))
def test_links_exist(page):
  folder = (ROOT / page).parent
  assert [link for link in links(PAGES[page]) if not (folder / link).exists()] == []


def test_links_and_keys_are_recognised():
  assert links('[a](b.md) [c](d/e.py#f) [g](https://h.i)') == ['b.md', 'd/e.py']
  assert keys_named('`loss.clip_high` --config.data.jsonl.path=x') == [
      'loss.clip_high', 'data.jsonl.path']


def test_the_readme_is_short_and_leads_to_every_page():
  text = PAGES['README.md']
  assert len(text.splitlines()) <= 200
  pages = {page for page in PAGES if page.startswith('docs/') and page != 'docs/README.md'}
  assert sorted(pages - set(links(text))) == []
  assert sorted({page.removeprefix('docs/') for page in pages} - set(
      links(PAGES['docs/README.md']))) == []


def test_every_command_is_listed_with_its_page_which_explains_it():
  listing = __main__.listing()
  assert max(map(len, listing.splitlines())) <= 80
  for name, (page, what) in COMMANDS.items():
    assert what and f'docs/{page}.md' in listing
    assert f'magistral_jax.{name}' in PAGES[f'docs/{page}.md'], name
  assert subprocess.check_output([sys.executable, '-m', 'magistral_jax'], text=True,
                                 cwd=ROOT) == listing + '\n'


@pytest.mark.parametrize('arguments, status, words', [
    (['verify', '--input=a'], 2, 'error: the following arguments are required: --output'),
    (['magistral_jax.verify', '--help'], 0, 'Rewards of completions in a file'),
    (['verfy', '--input=a'], 2, "error: 'verfy' is no command (did you mean verify?)"),
    (['--help'], 0, 'Run a command with'),
])
def test_a_command_may_follow_the_name_of_the_package(arguments, status, words):
  done = subprocess.run([sys.executable, '-m', 'magistral_jax', *arguments], text=True, cwd=ROOT,
                        capture_output=True)
  assert done.returncode == status and words in done.stdout + done.stderr


def test_every_module_that_is_run_is_a_command():
  package = ROOT / 'magistral_jax'
  run = {'.'.join(path.relative_to(package).with_suffix('').parts)
         for path in package.rglob('*.py') if "\nif __name__ == '__main__':" in path.read_text()}
  # A worker of the verifiers is started by its pool, simulated programs by their card.
  assert run - {'__main__', 'verifiers.workers.worker', 'evaluation.bfcl.play'} == set(COMMANDS)


# One process loads what all commands do and then forks for each: alone each takes two seconds.
WRITE_HELP = """
import os, runpy, sys, magistral_jax.orchestration.run
for name in sys.argv[1:]:
  if not os.fork():
    code, sys.argv, sys.stdout = 0, [name, '--help'], open(name + '.help', 'w')
    try:
      runpy.run_module('magistral_jax.' + name, run_name='__main__', alter_sys=True)
    except SystemExit as ended:
      code = ended.code or 0
    sys.stdout.flush()
    os._exit(code)
  assert os.wait()[1] == 0, name
"""


@pytest.fixture(scope='module')
def helps(tmp_path_factory):
  """{command: what its --help says}, in a terminal of 80 columns."""
  folder = tmp_path_factory.mktemp('helps')
  subprocess.run([sys.executable, '-c', WRITE_HELP, *COMMANDS], check=True, cwd=folder,
                 env=os.environ | {'COLUMNS': '80'})
  return {name: (folder / f'{name}.help').read_text('utf-8') for name in COMMANDS}


@pytest.mark.parametrize('name', COMMANDS)
def test_help_names_the_config_where_there_is_one(helps, name):
  lines = helps[name].splitlines()
  assert any(f'python -m magistral_jax.{name}' in line for line in lines)
  assert [line for line in lines if len(line) > 80] == []
  words = HELP_OF_CONFIG if name in TAKE_CONFIG else ()
  assert [word for word in words if word not in helps[name]] == []


def test_the_files_of_a_run_are_explained():
  text = PAGES['docs/training.md']
  assert [key for key in report.SUMMARY_KEYS if f'`{key}`' not in text] == []
  problem = records.Problem(id='', text='', answer='', source='')
  prompt = records.Prompt(ordinal=0, problem=problem, tokens=())
  completion = records.Completion(ordinal=0, sample=0, tokens=(), sampler_logp=(), versions=(),
                                  finish='stop', text='', seconds=0.0)
  line = rollout_line(prompt, completion, records.Verdict('wrong', 0.0, {}), None, 'failed', None)
  assert [key for key in line if f'`{key}`' not in text] == []
  assert [fate for fate in records.FATES if f'`{fate}`' not in text] == []


def test_every_key_of_a_metrics_line_is_explained(tmp_path):
  loop = fakes.make_loop(tmp_path, max_staleness=0, paced=False)
  lockstep.run(loop, total_steps=1)
  loop.journal.close()
  line, = read_lines(tmp_path / 'metrics.jsonl')
  # Means stand for the percentiles beside them, one row for all parts of the reward.
  keys = {re.sub('_(p10|p50|p90|max)$', '_mean', key) if key.startswith(('completion', 'staleness'))
          else re.sub('^part_.*', 'part_<name>', key) for key in line}
  of_trainer = {*step.SUMS, *step.MAXIMA, 'grad_norm'} - {'ratio_squared'}
  assert sorted(k for k in keys | of_trainer if f'`{k}`' not in PAGES['docs/training.md']) == []


def test_every_status_is_explained():
  assert [s for s in records.STATUSES if f'`{s}`' not in PAGES['docs/verifiers.md']] == []


def test_the_glossary_has_the_words_of_the_house():
  assert [word for word in WORDS if word not in terms(PAGES['docs/glossary.md'])] == []
