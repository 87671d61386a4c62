"""Generated programs and tales are right where they say so, and wrong where they slip."""
import itertools
import re
import subprocess
import sys

import pytest

from magistral_jax.data import jsonl
from magistral_jax.data.builders import folder, programs, tales
from magistral_jax.data.builders.distinct import distinct
from magistral_jax.data.builders.languages import LANGUAGES
from magistral_jax.data.builders.steps import SUBJECTS
from magistral_jax.metrics import plain
from magistral_jax.tokens import load_tokenizer
from magistral_jax.verifiers import format, language

RIGHT = dict(mistakes=0.0, astray=0.0, checked=0.0)
MAKERS = dict(
    programs=lambda n, seed=0, **how: programs.programs(n, seed, languages=LANGUAGES, **how),
    tales=lambda n, seed=0, **how: tales.tales(n, seed, **how))
GATES = dict(programs=format.code_gate, tales=format.gate)


@pytest.fixture(scope='module')
def identify():
  return language.load('')


def passes(line):
  """Whether the program of a line's trace prints what its tests expect, by Python itself."""
  _, source = format.first_program(line['response'])
  for test in line['tests']:
    ran = subprocess.run([sys.executable, '-I', '-S', '-c', source], input=test['stdin'], text=True,
                         capture_output=True, timeout=60)
    if ran.stdout.split() != test['stdout'].split():
      return False
  return True


def codes(line):
  """The code of the steps of a line's program, without their numbers and letters."""
  _, source = format.first_program(line['response'])
  return {re.sub(r"\d+|'.'", '', code) for code in source.splitlines()}


def test_every_step_does_what_its_python_does():
  wanted = {re.sub(r"\d+|'.'", '', step.code.replace('{k}', '1')) for subject in SUBJECTS
            for kind in ((subject.read,), *subject.changes, subject.prints) for step in kind}
  for line in programs.programs(3000, 0, mistakes=0.0):
    if codes(line) & wanted:
      wanted -= codes(line)
      assert passes(line), line
  assert not wanted


def test_a_program_that_slips_fails_a_test():
  assert not any(map(passes, programs.programs(15, 0, mistakes=1.0)))


@pytest.mark.parametrize('mistakes', [0.0, 1.0])
def test_the_box_of_a_tale_is_the_answer_unless_it_slips(mistakes):
  for line in tales.tales(300, 0, mistakes=mistakes, astray=0.0, checked=0.0):
    numbers = [int(n) for n in re.findall(r'\d+', line['problem'])]
    operation = re.search(r'\d([-+*])\d', line['response'])[1]
    first = eval(f'{numbers[0]}{operation}{numbers[1]}')
    rest = {'+': -1, '*': 1}.get(operation, 0) * numbers[2] if len(numbers) > 2 else 0
    assert int(line['answer']) == first + rest >= 0, line
    box = format.last_box(line['response'])
    assert (box == line['answer']) == (mistakes == 0), line


@pytest.mark.parametrize('kind', MAKERS)
@pytest.mark.parametrize('astray', [0.0, 1.0])
def test_traces_are_paid_for_their_language_unless_they_go_astray(kind, astray, identify):
  lines = MAKERS[kind](400, **RIGHT | dict(astray=astray))
  assert {line['meta']['language'] for line in lines} == set(LANGUAGES)
  for line in lines:
    gate = GATES[kind](line['response'])
    assert gate.passed, gate.detail
    agreed, why = language.agree(
        identify, problem=line['problem'], thoughts=gate.thoughts, answer=gate.answer,
        language=line['meta']['language'])
    assert agreed == (not astray), (line, why)


@pytest.mark.parametrize('kind', MAKERS)
def test_checks_make_traces_longer_and_change_no_answer(kind):
  short, long = (MAKERS[kind](50, **RIGHT | dict(checked=share)) for share in (0.0, 1.0))
  texts = {line['problem']: line['response'] for line in short}
  shared = [line for line in long if line['problem'] in texts]
  assert shared and all(line['response'] not in texts.values() for line in long)
  for line in shared:
    gates = [GATES[kind](text) for text in (line['response'], texts[line['problem']])]
    assert gates[0].box == gates[1].box and len(gates[0].thoughts) > len(gates[1].thoughts)


@pytest.mark.parametrize('kind', MAKERS)
def test_problems_differ_and_depend_on_the_seed_alone(kind):
  lines = MAKERS[kind](300, **RIGHT)
  assert len({line['problem'] for line in lines}) == len({line['id'] for line in lines}) == 300
  assert MAKERS[kind](300, **RIGHT) == lines != MAKERS[kind](300, seed=1, **RIGHT)


def test_draws_are_distinct_and_more_than_there_are_is_refused():
  drawn = itertools.cycle('abca')
  def draw(known):
    text = next(drawn)
    return None if text in known or text == 'b' else dict(problem=text)
  assert distinct(2, draw) == [dict(problem='a'), dict(problem='c')]
  with pytest.raises(ValueError, match='--problems=3 are more than there are: 2 were found'):
    distinct(3, draw)


@pytest.mark.parametrize('kind', MAKERS)
def test_the_lines_are_what_the_jsonl_source_reads(kind, write):
  line = MAKERS[kind](1, **RIGHT)[0]
  problem, = jsonl.read_files(write('lines.jsonl', [plain(line)]))
  assert problem.solution == line['response'] and problem.language == line['meta']['language']
  assert problem.domain == ('code' if kind == 'programs' else 'math')


def test_a_folder_has_its_files_and_a_tokenizer_that_encodes_any_text(tmp_path):
  folder.write(tmp_path, lambda: {kind: make(50, **RIGHT) for kind, make in MAKERS.items()})
  tokenizer = load_tokenizer(kind='huggingface', path=str(tmp_path))
  for kind in MAKERS:
    lines = jsonl.read_files(str(tmp_path / f'{kind}.jsonl'))
    assert len(lines) == 50
    for line in lines:
      ids = tokenizer.encode(line.solution)
      assert tokenizer.decode(ids) == line.solution and tokenizer.eos_id not in ids
      assert len(ids) < len(line.solution) / 2
  for text in ('<think>', '</think>', '\\boxed{'):
    assert len(tokenizer.encode(text)) == 1
  assert tokenizer.decode(tokenizer.encode('日本 ½ \x00')) == '日本 ½ \x00'


def test_a_folder_that_cannot_be_made_ends_with_a_sentence(tmp_path, capsys):
  def make():
    raise ValueError('--problems=10 are more than there are.')
  with pytest.raises(SystemExit):
    folder.write(tmp_path / 'new', make)
  assert 'are more than there are' in capsys.readouterr().err
  assert not (tmp_path / 'new').exists()
