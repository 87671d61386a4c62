"""Rows come from files as they are, with ids of their own."""
import gzip
import json

import pytest

from magistral_jax.curation import format, golds, rows
from magistral_jax.curation.code import statements
from magistral_jax.data import jsonl


def gathered(tmp_path, paths, **how):
  out = tmp_path / 'out' / 'gathered.jsonl'
  out.parent.mkdir(exist_ok=True)
  count = rows.gather(paths, out, **how)
  found = [row for _, row in rows.read_rows(out)]
  assert len(found) == count
  return found


def test_rows_keep_what_they_have_and_get_ids_as_train_gives_them(tmp_path, write):
  given = [dict(id=7, problem='a', answer=1.5, meta=dict(x=[1, None])),
           dict(problem='é数', extra=''), dict(id='', problem='b')]
  found = gathered(tmp_path, write('some.jsonl', given))
  assert [row['id'] for row in found] == ['7', 'some-2', 'some-3']
  assert [row | dict(id=None) for row in found] == [row | dict(id=None) for row in given]


@pytest.mark.parametrize('more', [
    dict(problem='What is 2 + 3 in base 7? \ud800'), dict(response=5), dict(solution=['a']),
    dict(domain='algebra'), dict(source=dict(a=1)), dict(images=['/none.png']),
    dict(meta=dict(language=3))], ids=ascii)
def test_a_row_that_train_would_not_take_is_dropped_and_said(more):
  math = dict(id='a', problem='What is 2 + 3 in base 7?', answer='5')
  code = dict(id='a', problem='Read n. Print n + 1.', tests=[dict(stdin='1', stdout='2')],
              solutions=['print(int(input()) + 1)'])
  for decide, row in ((lambda row: format.decide(row, golds.Comparer(None)), math),
                      (statements.decide, code)):
    assert decide(row).rows == (row,)
    found = decide(row | more)
    assert found.rows == () and found.reason == 'unreadable_row' and found.detail


def test_images_are_found_from_wherever_the_rows_are_written(tmp_path, write):
  given = [dict(problem='<image> a', images=['b/c.png', '/d.png']), dict(problem='b', images=[])]
  found = gathered(tmp_path, write('some.jsonl', given))
  assert found[0]['images'] == [str(tmp_path / 'b/c.png'), '/d.png'] and found[1]['images'] == []


def test_blank_lines_count_in_ids_but_are_no_rows(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_text('{"problem": "a"}\n\n  \n{"problem": "b"}\n')
  assert [row['id'] for row in gathered(tmp_path, str(path))] == ['x-1', 'x-4']


@pytest.mark.parametrize('lines, words', [
    (['{"id": "a"}', '{"id": "b"}', '{"id": "a"}'], "the id 'a' occurs twice"),
    (['{"id": "a"}', '[1]'], 'line 2: a JSON object is needed'),
    (['{"id": [1]}'], 'line 1: "id" must be text or a whole number'),
    (['{"a": '], 'line 1: this is not JSON'), ([], 'holds no problem')])
def test_input_that_cannot_be_used_is_told_in_one_sentence(tmp_path, lines, words):
  path = tmp_path / 'x.jsonl'
  path.write_text(''.join(f'{line}\n' for line in lines))
  with pytest.raises(ValueError, match=words):
    rows.gather(str(path), tmp_path / 'out.jsonl')


def test_files_are_those_that_train_reads(tmp_path):
  """Folders, packed files and files of one name, with the ids and names of fields of train."""
  for folder in 'ab':
    (tmp_path / 'raw' / folder).mkdir(parents=True)
    with gzip.open(tmp_path / 'raw' / folder / 'part.jsonl.gz', 'wt') as file:
      file.write(json.dumps(dict(question=f'{folder}?', answer='3')) + '\n')
  found = gathered(tmp_path, str(tmp_path / 'raw'), fields='problem=question')
  read = jsonl.read_files(str(tmp_path / 'raw'), fields='problem=question')
  assert [(row['id'], row['problem']) for row in found] == [(p.id, p.text) for p in read]
  assert [row['id'] for row in found] == ['a/part-1', 'b/part-1']


@pytest.mark.parametrize('answer, gold, solution', [
    ('Half: 48/2 = <<48/2=24>>24.\n#### 24', '24', 'Half: 48/2 = 24.'),
    ('It is $3+4$, so \\boxed{7}.', '7', 'It is $3+4$, so \\boxed{7}.'),
    ('\\boxed{7}', '7', None), ('7', '7', None)])
def test_an_answer_that_is_a_solution_is_read_as_train_reads_it(
    tmp_path, write, answer, gold, solution):
  row, = gathered(tmp_path, write('x.jsonl', [dict(problem='a', answer=answer)]))
  assert (row['answer'], row.get('solution')) == (gold, solution)
  assert jsonl.read_files(str(tmp_path / 'x.jsonl'))[0].answer == gold
  row, = gathered(tmp_path, write('x.jsonl', [dict(problem='a', answer=answer, solution='mine')]))
  assert row['solution'] == 'mine'


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match='nowhere.jsonl'):
    rows.gather(str(tmp_path / 'nowhere.jsonl'), tmp_path / 'out.jsonl')


def test_rows_are_read_from_any_of_their_ends(write):
  path = write('x.jsonl', [dict(n=n, text='数' * n) for n in range(9)])
  ends = [offset for offset, _ in rows.read_rows(path)]
  for start, end in enumerate(ends):
    assert [row['n'] for _, row in rows.read_rows(path, end)] == list(range(start + 1, 9))


def test_lookup_finds_every_line_and_nothing_else(write):
  lines = [dict(id=f'row {n}', value=n) for n in range(500)]
  lookup = rows.Lookup(write('x.jsonl', lines))
  assert len(lookup) == 500
  assert all(lookup.find(line['id']) == line for line in lines)
  assert lookup.find('row 500') is None and lookup.find('') is None


@pytest.mark.parametrize('lines, words', [
    ([dict(id='a'), dict(id='a')], "id 'a' occurs twice"), ([dict(x=1)], 'has no "id"')])
def test_lookup_refuses_files_that_are_not_clear(write, lines, words):
  with pytest.raises(ValueError, match=words):
    rows.Lookup(write('x.jsonl', lines))


def test_an_empty_lookup_finds_nothing(write):
  assert rows.Lookup(write('x.jsonl', [])).find('a') is None


def test_answers_may_be_numbers():
  assert rows.answer_of(json.loads('{"answer": 12}')) == '12'
  assert rows.answer_of(dict(answer=True)) == rows.answer_of(dict(answer=None)) == ''
