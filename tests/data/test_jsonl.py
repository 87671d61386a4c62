"""JSONL source: what is read, the order in which it is served, how mistakes are reported."""
import pytest
from PIL import Image

from magistral_jax.data.jsonl import JsonlSource, read_files
from magistral_jax.records import Problem

NONE = dict(held_out_path='', held_out=0)
GOOD = dict(problem='1+1?', answer='2')


def test_all_fields_are_read(write):
  path = write('a.jsonl', [
      dict(id='x', problem=' 1+1? ', answer='2', source='S', solution='One more.', extra=[1],
           meta=dict(language='fr')),
      b'',
      dict(problem='Combien ?', answer=3, solution=None)])
  assert read_files([path]) == [
      Problem('x', '1+1?', '2', 'S', language='fr', solution='One more.'),
      Problem('a-3', 'Combien ?', '3', 'a')]


def test_a_line_ends_at_newline_only(write):
  path = write('a.jsonl', ['{"problem": "one\u2028two", "answer": "3"}'.encode(), GOOD])
  assert [p.text for p in read_files([path])] == ['one\u2028two', '1+1?']


@pytest.mark.parametrize('line, message', [
    (b'{"problem": ', r'this is not JSON \(.*column'),
    (b'problem,answer', r'this is not JSON .*\. Each line must be an object, such as {"problem".* '
                        r'in a file of problems; a table \(CSV\) must be written so first\.'),
    (b'\xff{}', r'not UTF-8 \(byte 0\)'),
    (b'[1]', r'a JSON object is needed, this is a list'),
    (b'null', r'a JSON object is needed, this is null'),
    (dict(answer='2'), r'"problem" is missing'),
    (dict(problem='1+1?'), r'"answer" is missing'),
    (dict(problem='1+1?', answer=None), r'"answer" is null, and .*: give it, or take the line out'),
    (dict(answer='2', problem=None), r'"problem" is null, and'),
    (dict(problem='1+1?', answer=' '), r'"answer" is empty'),
    (dict(problem='', answer='2'), r'"problem" is empty'),
    (dict(problem='1+1?', answer=['2']), r'"answer" must be text, this is a list'),
    (dict(problem='1+1?', answer=True), r'"answer" must be text, this is true or false'),
    (dict(problem=11, answer='2'), r'"problem" must be text, this is a number'),
    (dict(GOOD, meta='en'), r'"meta" must be an object, this is text'),
    (dict(GOOD, solution=3), r'"solution" must be text'),
    (dict(GOOD, problem='\ud800'), r'half of a surrogate pair'),
    (dict(GOOD, id='p'), r"the id 'p' is taken by .*a\.jsonl, line 1"),
])
def test_a_bad_line_is_named(write, line, message):
  path = write('a.jsonl', [dict(GOOD, id='p'), line])
  with pytest.raises(ValueError, match=r'a\.jsonl, line 2: .*' + message):
    read_files([path])


def test_an_empty_or_missing_file_is_named(write, tmp_path):
  with pytest.raises(ValueError, match=r'empty\.jsonl holds no problem'):
    read_files([write('empty.jsonl', [b''])])
  with pytest.raises(ValueError, match=r'absent\.jsonl.* does not exist'):
    read_files([str(tmp_path / 'absent.jsonl')])
  with pytest.raises(ValueError, match=r'set data\.jsonl\.path'):
    JsonlSource(0, path='', **NONE)


def test_every_epoch_serves_all_problems_in_a_new_order(write, rows):
  source = JsonlSource(0, path=write('a.jsonl', rows), **NONE)
  assert source.size == 30
  epochs = [[source.problem(30 * e + i).id for i in range(30)] for e in range(3)]
  assert all(sorted(epoch) == sorted(row['id'] for row in rows) for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_depends_on_the_seed_alone(write, rows):
  path = write('a.jsonl', rows)
  serve = lambda seed: [JsonlSource(seed, path=path, **NONE).problem(i).id for i in range(60)]
  assert serve(0) == serve(0) != serve(1)
  # A fixed value: other processes, machines and numpy versions must agree on it.
  assert serve(0)[:5] == ['p16', 'p9', 'p27', 'p3', 'p0']


def test_held_out_problems_are_fixed_and_never_trained(write, rows):
  path = write('a.jsonl', rows)
  sources = [JsonlSource(seed, path=path, held_out_path='', held_out=8) for seed in (0, 1)]
  evaluation = [p.id for p in sources[0].held_out(100)]
  assert len(evaluation) == 8 and evaluation == [p.id for p in sources[1].held_out(8)]
  assert sources[0].size == 22
  assert not set(evaluation) & {sources[0].problem(i).id for i in range(100)}


def test_held_out_from_another_file(write, rows):
  # The question of p3 in other letters: it must not be trained on.
  other = [dict(problem='what is  3 and 3?', answer='6'), dict(problem='New?', answer='1')]
  source = JsonlSource(
      0, path=write('a.jsonl', rows), held_out_path=write('b.jsonl', other), held_out=0)
  assert sorted(p.text for p in source.held_out(9)) == ['New?', 'what is  3 and 3?']
  assert source.size == 29 and 'p3' not in {p.id for p in source.training}


def test_two_rows_with_one_text_stay_on_one_side(write, rows):
  doubled = rows + [dict(row, id='again-' + row['id']) for row in rows]
  source = JsonlSource(0, path=write('a.jsonl', doubled), held_out_path='', held_out=20)
  assert not {p.text for p in source.evaluation} & {p.text for p in source.training}


def test_several_files_are_one_source(write, rows):
  path = write('a.jsonl', rows[:10]) + ', ' + write('b.jsonl', rows[10:])
  assert JsonlSource(0, path=path, **NONE).size == 30
  with pytest.raises(ValueError, match=r"b\.jsonl, line 1: the id 'p0' .*a\.jsonl, line 1"):
    read_files([write('a.jsonl', rows), write('b.jsonl', rows)])


def test_impossible_splits_name_their_key(write, rows):
  path = write('a.jsonl', rows)
  with pytest.raises(ValueError, match=r'30 of 30 .* set data\.jsonl\.held_out between 0 and 29'):
    JsonlSource(0, path=path, held_out_path='', held_out=30)
  with pytest.raises(ValueError, match=r'All 30 training problems.*data\.jsonl\.held_out_path'):
    JsonlSource(0, path=path, held_out_path=path, held_out=0)


def test_a_line_with_tests_is_a_programming_problem(write):
  row = dict(problem='Add.', language='cpp', tests=[dict(stdin='1 2', stdout='3')])
  problem, = read_files([write('a.jsonl', [row])])
  assert (problem.domain, problem.answer, problem.language) == ('code', '', 'en')
  assert problem.tests['language'] == 'cpp' and len(problem.tests['cases']) == 1
  with pytest.raises(ValueError, match=r'line 2: test 1 has no "stdout"'):
    read_files([write('b.jsonl', [row, row | dict(tests=[dict(stdin='1')])])])
  with pytest.raises(ValueError, match=r'line 1: "tests" must be a list'):
    read_files([write('c.jsonl', [dict(problem='Add.', domain='code')])])


def test_paths_of_images_are_relative_to_their_file(write, tmp_path):
  (tmp_path / 'figures').mkdir()
  Image.new('RGB', (3, 2)).save(tmp_path / 'figures' / 'bars.png')
  path = write('a.jsonl', [
      dict(GOOD, problem='What is <image>?', images=['figures/bars.png']),
      dict(GOOD, problem='What does <image> mean in HTML?')])
  with_image, without = read_files([path])
  assert with_image.images == (str(tmp_path / 'figures' / 'bars.png'),)
  assert without.images == () and '<image>' in without.text


@pytest.mark.parametrize('line, message', [
    (dict(problem='What?', images=['a.png']), r'1 paths and the text has <image> 0 times'),
    (dict(problem='<image> or <image>?', images=['a.png']), r'the text has <image> 2 times'),
    (dict(problem='<image>', images=[]), r'<image> 1 times: write it once'),
    (dict(problem='<image>', images='a.png'), r'"images" must be a list of paths'),
    (dict(problem='<image>', images=[3]), r'"images" must be a list of paths'),
    (dict(problem='<image>', images=['a.png']), r"the image '.*a\.png' does not exist"),
])
def test_images_that_cannot_work_are_reported(line, message, write):
  with pytest.raises(ValueError, match=r'a\.jsonl, line 2: .*' + message):
    read_files([write('a.jsonl', [GOOD, dict(line, answer='1')])])


def test_the_same_words_about_other_images_are_another_problem(write, tmp_path):
  for name in 'ab':
    Image.new('RGB', (2, 2)).save(tmp_path / f'{name}.png')
  ask = lambda name: dict(problem='What is <image>?', answer=name, images=[f'{name}.png'])
  source = JsonlSource(0, path=write('train.jsonl', [ask('a'), ask('b')]),
                       held_out_path=write('evaluation.jsonl', [ask('b')]), held_out=0)
  assert [p.answer for p in source.training] == ['a']
