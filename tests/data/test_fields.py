r"""Lines as files have them: names of fields, golds within solutions, lost backslashes."""
import json
import logging

import pytest

from magistral_jax.data import escapes, fields, golds
from magistral_jax.data.jsonl import read_files

GSM8K = dict(question='Natalia sold 48 clips in April, and half as many in May. How many in all?',
             answer='In May she sold 48/2 = <<48/2=24>>24 clips.\nIn all 48+24 = <<48+24=72>>72.\n'
                    '#### 72')
# Lines in the schemas of published sets, and what data.jsonl.fields must be for them.
PUBLISHED = [
    (GSM8K, 'problem=question', '72'),
    (dict(problem='1+1?', level='Level 1', type='Algebra', solution='It is $\\boxed{2}$.'),
     'answer=solution', '2'),
    (dict(question='1+1?', final_answer='2', difficulty=1.0, topic='x'),
     'problem=question,answer=final_answer', '2'),
    (dict(ID='2024-I-1', Problem='1+1?', Solution='...', Answer=2),
     'problem=Problem,answer=Answer', '2'),
    (dict(data_source='x', prompt=[dict(role='user', content='1+1?')],
          reward_model=dict(ground_truth='2', style='rule')),
     'problem=prompt.0.content,answer=reward_model.ground_truth', '2'),
    (dict(prompt=[dict(role='system', content='S'), dict(role='user', content='1+1?')], answer=2),
     'problem=prompt.1.content', '2'),
    (dict(problem='1+1?', solution='so \\boxed{2}', messages=[]), 'answer=solution', '2'),
    (dict(question='1+1?', final_answer=['2'], subfield='x'),
     'problem=question,answer=final_answer.0', '2'),
]


@pytest.mark.parametrize('row, wanted, gold', PUBLISHED)
def test_published_schemas_are_offered_the_line_that_reads_them(row, wanted, gold, write):
  path = write('a.jsonl', [row])
  with pytest.raises(ValueError, match=r'a\.jsonl, line 1: ".*" is missing') as error:
    read_files(path)
  assert f"set data.jsonl.fields='{wanted}' to read them. If only this" in str(error.value)
  assert all(repr(key) in str(error.value) for key in row)
  problem, = read_files(path, fields=wanted)
  assert problem.answer == gold


def test_a_solution_with_its_answer_behind_hashes_is_split(write):
  problem, = read_files(write('a.jsonl', [GSM8K]), fields='problem=question')
  assert problem.answer == '72' and problem.text == GSM8K['question']
  assert problem.solution == 'In May she sold 48/2 = 24 clips.\nIn all 48+24 = 72.'


@pytest.mark.parametrize('answer, gold, solution', [
    ('72', '72', ''), ('#### 1,200', '1,200', ''), ('Yes.\n#### -3.5 ', '-3.5', 'Yes.'),
    ('\\boxed{\\frac{1}{2}}', '\\frac{1}{2}', ''), ('$\\boxed{7}$.', '7', ''),
    ('So \\boxed{1}, no, \\boxed{2}.', '2', 'So \\boxed{1}, no, \\boxed{2}.'),
    ('\\boxed{', '\\boxed{', ''), ('\\{1,2\\}', '\\{1,2\\}', ''), ('a #### 3', 'a #### 3', '')])
def test_golds_within_answers(answer, gold, solution):
  assert golds.split(answer) == (gold, solution)


@pytest.mark.parametrize('line, names, words', [
    (dict(problem='1+1?', Answer=None), 'answer=Answer', '"answer" is null'),
    (dict(problem='1+1?', a=dict(b=None)), 'answer=a.b', '"answer" is null'),
    (dict(problem='1+1?', a=dict(c=None)), 'answer=a.b', '"answer" is missing'),
    (dict(problem='1+1?', a=None), 'answer=a.b', '"answer" is missing')])
def test_a_null_under_another_name_is_called_null(write, line, names, words):
  with pytest.raises(ValueError, match=words):
    read_files(write('a.jsonl', [line]), fields=names)


def test_a_null_under_one_name_leaves_the_others(write):
  path = write('a.jsonl', [dict(problem='1?', x=None, y='1'), dict(problem='2?', x=None, answer=2)])
  assert [p.answer for p in read_files(path, fields='answer=x|y')] == ['1', '2']


def test_names_that_a_line_lacks_fall_back_to_ours(write):
  path = write('a.jsonl', [dict(question='a?', answer='1'), dict(problem='b?', answer='2'),
                           dict(prompt='c?', answer='3', problem='not this')])
  assert [p.text for p in read_files(path, fields='problem=question|prompt')] == ['a?', 'b?', 'c?']


def test_a_key_of_another_meaning_can_be_ignored(write):
  path = write('a.jsonl', [dict(problem='a?', answer='1', domain=['Algebra'], source=7)])
  with pytest.raises(ValueError, match=r"is a list; where it means something else, set data\."
                                       r"jsonl\.fields='domain=' to ignore it"):
    read_files(path)
  problem, = read_files(path, fields='domain=')
  assert (problem.domain, problem.source) == ('math', '7')


@pytest.mark.parametrize('text', ['question', 'question=problem', 'problem question', '=x'])
def test_fields_that_cannot_be_are_said(text):
  with pytest.raises(ValueError, match=r'must be KEY=NAME, with a KEY of problem, answer, id'):
    fields.parse(text)


def test_a_conversation_is_no_problem(write):
  for row in (dict(messages=[dict(role='user', content='Hi')]), dict(conversations=[])):
    with pytest.raises(ValueError, match=r'belongs into cold_start\.conversations'):
      read_files(write('a.jsonl', [row]))


@pytest.mark.parametrize('command', [
    'frac{3}{7}', 'times 4', 'text{cm}', 'theta', 'tan x', 'to 3', 'neq 3', 'nu', 'rho', 'right)',
    'beta', 'binom{3}{2}', 'bar{x}', 'forall x', 'begin{pmatrix}', 'nabla f', 'tfrac12'])
def test_an_answer_with_a_lost_backslash_is_named(command, write):
  good = dict(problem='1+1?', answer='2')
  bad = b'{"problem": "1?", "answer": "2\\' + command.encode() + b'"}'
  name = command.split('{')[0].split(' ')[0].rstrip(')123')
  with pytest.raises(ValueError, match=rf'a\.jsonl, line 2: "answer" has .*\\\\{name}'):
    read_files(write('a.jsonl', [good, bad]))
  _, right = read_files(write('b.jsonl', [good, bad.replace(b'\\', b'\\\\')]))
  assert right.answer == f'2\\{command}'


@pytest.mark.parametrize('text, found', [
    ('Find $\frac{1}{2}$.', True), ('a \neq b', True), ('$3\times 4$', True), ('Let $\tan x', True),
    ('name\text 3', False), ('first\nu second', False), ('a sentence.\neq. 3 holds', False),
    ('a\tan b', False), ('a\r\nb', False), ('x\n\neq', False), ('old\rmac', False)])
def test_only_sure_faults_of_long_texts_are_named(text, found):
  assert bool(escapes.fault(text)) == found


def test_a_problem_with_a_lost_backslash_is_kept_and_named(write, caplog):
  rows = [dict(problem='1+1?', answer='2'), b'{"problem": "Is $\\frac12 = 1$?", "answer": "2"}']
  with caplog.at_level(logging.WARNING):
    assert len(read_files(write('a.jsonl', rows))) == 2
  assert '1 problems are read although' in caplog.text and 'a.jsonl, line 2: a form' in caplog.text


@pytest.mark.parametrize('answer', ['NaN', 'Infinity', '-Infinity', '1e999', '"NaN"', '" nan"'])
@pytest.mark.parametrize('name', ['answer', 'target'])
def test_numbers_that_are_none_are_refused(answer, name, write):
  line = f'{{"problem": "1?", "{name}": {answer}}}'.encode()
  with pytest.raises(ValueError, match=r'a\.jsonl, line 2: "answer" is .*, which is no answer'):
    read_files(write('a.jsonl', [dict(problem='a?', answer='1'), line]), fields='answer=target')
  assert read_files(write('b.jsonl', [b'{"problem": "1?", "answer": 2, "meta": {"p": NaN}}']))


def test_a_wrong_escape_is_explained(write):
  with pytest.raises(ValueError, match=r'line 1: this is not JSON .* every backslash of LaTeX is'):
    read_files(write('a.jsonl', [b'{"problem": "\\sqrt{4}?", "answer": "2"}']))


@pytest.mark.parametrize('gold, fits', [
    ('72', True), ('x = 5', True), ('5\\text{ apples}', True), ('Monday', True),
    ('\\text{Alice, Bob, Carol, Dave, Eve, Frank}', True), ('90\\text{ square\nunits}', True),
    ('\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}', True), ('three red and two blue', True),
    ('The answer is 72.', False), ('He has 5 apples left', False),
    ('First add both numbers and then take the half of them', False),
    ('1\n2\n3\n4', False), ('因为三角形的内角和等于一百八十度所以答案是六十度。', False)])
def test_sentences_are_no_golds(gold, fits):
  assert (golds.fault(gold) == '') == fits


def test_a_problem_knows_its_line_and_equals_the_same_of_another_file(write):
  row = json.dumps(dict(id='x', problem='1+1?', answer='2', source='s')).encode()
  one, other = (read_files(write(f'{name}.jsonl', [b'', row]))[0] for name in 'ab')
  assert one == other and one.where.endswith('a.jsonl, line 2')
