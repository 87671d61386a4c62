"""Cards: what they read, what counts as an answer, and what is wrong, missing or failed."""
import collections
import dataclasses
import io
import json

import pytest
from rich.console import Console

from magistral_jax.evaluation import extraction, items, tables
from magistral_jax.evaluation.benchmarks import gpqa_diamond
from magistral_jax.evaluation.card import Grade
from magistral_jax.evaluation.cards import CARDS, SUITES, chosen
from tests.evaluation import cards

QUESTION = {'Question': 'Which?', 'Correct Answer': 'right', 'Incorrect Answer 1': 'a',
            'Incorrect Answer 2': 'b', 'Incorrect Answer 3': 'c', 'Record ID': 'rec1'}
SUM = dict(id='s', problem='1/2+1/2=?', answer='1')


@pytest.mark.parametrize('name', CARDS)
def test_a_card_says_everything(name):
  card = CARDS[name]
  assert card.name == name and card.files
  for field in ('task', 'form', 'source', 'prompt', 'extraction', 'grading', 'estimator',
                'checked'):
    assert getattr(card, field), field
  assert name in tables.listing([card]) and card.checked in tables.listing([card])


def test_suites_name_cards_once_each():
  for suite, names in SUITES.items():
    assert len(set(names)) == len(names), suite
    assert [card.name for card in chosen('', suite)] == list(names)


def test_a_benchmark_of_two_parts_is_both_of_its_cards():
  assert [card.name for card in chosen('arc,piqa,arc_easy', '')] == [
      'arc_easy', 'arc_challenge', 'piqa']


@pytest.mark.parametrize('suite, models', [
    ('magistral', ['Magistral Medium']), ('pixtral', ['Pixtral 12B']),
    ('mixtral', ['Mixtral 8x7B', 'Mistral 7B'])])
def test_the_cards_of_a_suite_have_the_figures_of_its_paper(suite, models):
  for card in chosen('', suite):
    known = {model for values in card.paper.values() for model in values}
    assert known.issuperset(models), card.name
    # Tables 4 and 6 have no figures of Magistral Small, nor has Aider's.
    assert suite != 'magistral' or 'Magistral Small' in known or card.name in (
        'aider_polyglot', 'aime24_multilingual', 'ifeval', 'bfcl'), card.name


def test_a_suite_is_sampled_as_its_paper_does():
  for card in chosen('', 'magistral'):       # Section 5.1: temperature and length of all figures.
    long = card.name.startswith(('aime', 'livecodebench'))
    assert (card.sampling.temperature, card.sampling.max_new_tokens) == (
        0.7, 40960 if long else 32768), card.name
  sampling = {card.name: card.sampling for card in chosen('', 'pixtral')}
  assert (sampling['mmmu'].temperature, sampling['mmmu'].max_new_tokens) == (0.0, 2048)
  assert sampling['math'].samples == 1       # Its figure is maj@1.
  assert 'with --suite=magistral temperature 0.7' in tables.listing([CARDS['mmmu']])


def test_the_table_has_what_the_papers_have_and_the_card_adds():
  found = dict(
      cards.figures('aime24', [cards.item('aime24', SUM)], [], 8), groups={},
      prompt_strict=0.25, mean_tokens=7.0)
  shown = io.StringIO()
  Console(file=shown, width=200).print(tables.results_table(dict(aime24=found)))
  rows = {cells[1].strip(): [cell.strip() for cell in cells[2:4]] for line in
          shown.getvalue().splitlines() if len(cells := line.split('│')[1:]) > 3}
  assert rows['maj@64'][0] == '' and 'Magistral Medium 90.0' in rows['maj@64'][1]
  assert rows['prompt_strict'] == ['25.0', '']
  assert rows['mean tokens'] == ['7', ''] and 'mean_tokens' not in rows


@pytest.mark.parametrize('response, status', [
    ('<think>So \\boxed{7}.</think>It is \\boxed{1}.', 'correct'),
    ('\\boxed{2/2}', 'correct'),
    ('[THINK]Hm.[/THINK]\\boxed{1}', 'correct'),
    ('\\boxed{2}', 'wrong'),
    ('The answer is 1.', 'no_answer'),
    ('', 'no_answer'),
    ('   ', 'no_answer'),
    ('<think>It is \\boxed{1}', 'no_answer'),       # Cut off within its thoughts.
    ('It is \\boxed{1', 'no_answer'),
    ('<think>\\boxed{1}</think>', 'no_answer'),
    ('\\boxed{1}' + 'x' * 600_000, 'no_answer'),    # Too long to be read.
])
def test_mathematics_counts_the_last_box_after_the_thoughts(response, status):
  assert cards.statuses('math500', cards.item('math500', SUM), response) == [status]


@pytest.mark.parametrize('response, letter', [
    ('\\boxed{B}', 'B'), ('\\boxed{(B)}', 'B'), ('\\boxed{\\text{B}}', 'B'), ('\\boxed{B) 3}', 'B'),
    ('Answer: B', 'B'), ('**Answer: (B)**', 'B'), ('The answer is B.', 'B'), ('B', 'B'),
    ('answer: b', 'B'), ('Answer: A\nNo. Answer: B', 'B'), ('Answer: $B$', 'B'),
    ('The answer is A dog.', ''), ('\\boxed{Basel}', ''), ('\\boxed{E}', ''), ('\\boxed{}', ''),
    ('A or B', ''), ("I'd say so", ''), ('', ''), ('<think>Answer: B', '')])
def test_a_letter_is_read_where_it_is_an_answer(response, letter):
  assert extraction.letter(response, 'ABCD') == letter


def test_the_letters_of_gpqa_are_even_and_belong_to_their_questions():
  right = collections.Counter(gpqa_diamond.order(f'question {n}').index(0) for n in range(2000))
  assert all(430 < right[place] < 570 for place in range(4))     # 500 each, 3.6 errors wide.
  item = cards.item('gpqa_diamond', QUESTION)
  shown = item.prompt.splitlines()
  assert item.id == 'rec1' and f'{item.answer}) right' in shown
  wrong = next(letter for letter in 'ABCD' if letter != item.answer)
  assert cards.statuses('gpqa_diamond', item, f'\\boxed{{{item.answer}}}', f'\\boxed{{{wrong}}}',
                        'No idea.') == ['correct', 'wrong', 'no_answer']
  # Another order of the file, or fewer questions, change nothing.
  assert cards.item('gpqa_diamond', QUESTION, number=9).answer == item.answer


@pytest.mark.parametrize('response, block', [
    ('```python\na\n```\nor\n```python\nb\n```', 'b'), ('```\nb\n```', 'b'), ('a', ''),
    ('```python\na', ''), ('<think>```\na\n```</think>no', '')])
def test_a_program_is_the_last_block(response, block):
  assert extraction.block(response) == block


@pytest.mark.parametrize('response, cut', [
    ('<think>Hm', True), ('<think>Hm.</think>So', False), ('```python\nprint(', True),
    ('```python\na\n```', False), ('\\boxed{1', True), ('\\boxed{1}', False), ('', False)])
def test_what_a_text_shows_of_its_end(response, cut):
  assert extraction.cut_off(response) == cut


def test_a_grader_that_fails_is_an_error_and_no_wrong_answer():
  card = CARDS['aime24']
  def broken(item, response):
    raise RecursionError('too deep')
  item = cards.item('aime24', SUM)
  CARDS['aime24'] = dataclasses.replace(card, grade=broken)
  try:
    line, = cards.judged('aime24', item, '\\boxed{1}')
  finally:
    CARDS['aime24'] = card
  assert (line['status'], line['correct']) == ('error', None) and 'too deep' in line['detail']


@pytest.mark.parametrize('name, content, words', [
    ('a.jsonl', '{"id": "x", "problem": "1+1=?"}\n', 'a.jsonl, line 1: "answer" or'),
    ('a.jsonl', '{"problem": "?", "answer": 1}\n[1]\n', 'a.jsonl, line 2: a JSON object'),
    ('a.jsonl', '{"problem": ["?"], "answer": 1}\n', 'line 1: "problem" must be text, this is a'),
    ('a.jsonl', '{"id": "x", "problem": "?", "answer": 1}\n' * 2, "'x' is taken by"),
    ('a.jsonl', '\n', 'holds no item of aime24'),
    ('a.json', '[{"problem": "?", "answer": 1}, 2]', 'item 2: an object is needed'),
    ('a.csv', 'problem,answer\n1+1=?\n', 'row 1: it has more or fewer cells'),
    ('a.parquet', 'PAR1 no', 'is no Parquet file'),
])
def test_bad_data_is_said_with_its_place(tmp_path, name, content, words):
  (tmp_path / name).write_text(content)
  with pytest.raises(ValueError, match='.') as error:
    cards.read('aime24', tmp_path / name)
  assert words in str(error.value) and '\n' not in str(error.value)


def test_data_is_read_in_the_forms_it_is_published_in(tmp_path):
  rows = [dict(problem='1+1=?', answer='2'), dict(problem='2+2=?', answer='4')]
  (tmp_path / 'a.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
  (tmp_path / 'b.json').write_text(json.dumps(rows))
  (tmp_path / 'c.csv').write_text('problem,answer\n1+1=?,2\n"2+2=?",4\n')
  parquet = pytest.importorskip('pyarrow.parquet')
  table = pytest.importorskip('pyarrow').Table.from_pylist(rows)
  parquet.write_table(table, tmp_path / 'd.parquet')
  found = [cards.read('aime24', path) for path in sorted(tmp_path.iterdir())]
  assert all(items == found[0] for items in found) and len(found[0]) == 2
  assert [item.id for item in found[0]] == ['aime24-0', 'aime24-1']


def test_a_folder_is_searched_for_the_names_of_a_card(tmp_path):
  (tmp_path / 'math').mkdir()
  (tmp_path / 'math/AIME2024.jsonl').write_text(json.dumps(SUM))
  (tmp_path / 'other.jsonl').write_text('{}')
  assert [item.id for item in cards.read('aime24', tmp_path)] == ['s']
  with pytest.raises(ValueError, match='no file for aime25: it is searched for aime25'):
    cards.read('aime25', tmp_path)
  with pytest.raises(ValueError, match='does not exist'):
    cards.read('aime24', tmp_path / 'no.jsonl')


@pytest.mark.parametrize('name, found, others', [
    ('aime24', ['aime_2024/data/train-00000-of-00001.jsonl'], ['aime_2024/README.md']),
    ('math500', ['MATH-500/test.jsonl'], ['MATH-500/README.md', 'MATH-500/.gitattributes']),
    ('gsm8k', ['gsm8k/main/test-00000-of-00001.jsonl'], ['gsm8k/socratic/test-0.jsonl']),
    ('hle_text', ['hle/data/test-0.jsonl'], ['hle.md', 'hle/hle.png']),
    ('hellaswag', ['hellaswag/data/validation-0.jsonl'], ['hellaswag/data/test-0.jsonl']),
    ('winogrande', ['winogrande/winogrande_xl/validation-0.jsonl'],
     ['winogrande/winogrande_xs/validation-0.jsonl']),
    ('mmlu', ['mmlu/all/test-0.jsonl'], ['mmlu/astronomy/test-0.jsonl', 'mmlu/all/dev-0.jsonl']),
    ('arc_easy', ['ai2_arc/ARC-Easy/test-0.jsonl'], ['ai2_arc/ARC-Challenge/test-0.jsonl']),
    ('mmmu', ['MMMU/Art/validation-0.jsonl', 'MMMU/Math/validation-0.jsonl'],
     ['MMMU/Art/test-0.jsonl']),
    ('mmmu', ['MMMU/data/validation-0.jsonl'], ['MMMU/data/test-0.jsonl', 'MMMU_Pro/README.md']),
    ('mmmu_pro', ['MMMU_Pro/standard (10 options)/test-0.jsonl', 'MMMU_Pro/vision/test-0.jsonl'],
     ['MMMU_Pro/standard (4 options)/test-0.jsonl', 'MMMU_Pro/README.md']),
    ('mathvista', ['MathVista/data/testmini-0.jsonl'], ['MathVista/data/test-0.jsonl']),
    ('chartqa', ['ChartQA/data/test-0.jsonl'], ['ChartQA/data/train-0.jsonl']),
    ('docvqa', ['DocVQA/DocVQA/validation-0.jsonl'],
     ['DocVQA/DocVQA/test-0.jsonl', 'DocVQA/InfographicVQA/validation-0.jsonl',
      'DocVQA/README.md']),
    ('vqav2', ['VQAv2/data/validation-0.jsonl'], ['VQAv2/data/testdev-0.jsonl', 'VQAv2/VQAv2.py']),
    ('mm_mt_bench', ['MM-MT-Bench/data/eval-0.jsonl'], ['MM-MT-Bench/README.md']),
    ('humaneval', ['openai_humaneval/openai_humaneval/test-0.jsonl'],
     ['openai_humaneval/README.md'])])
def test_a_clone_of_a_hub_is_searched_as_it_lies(tmp_path, name, found, others):
  for path in [*found, *others]:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text('')
  clone = tmp_path / found[0].split('/')[0]
  for folder in (tmp_path, clone):             # A folder of clones, and the clone itself.
    assert items.find_files(CARDS[name], str(folder)) == [str(tmp_path / path) for path in found]


def test_unknown_names_are_refused_with_the_nearest():
  for names, suite, words in (('math50', '', 'did you mean math500?'), ('', 'magistrale', 'mean'),
                              ('x', '', 'it must be one of aime24')):
    with pytest.raises(ValueError, match='unknown') as error:
      chosen(names, suite)
    assert words in str(error.value)
  assert [card.name for card in chosen('math500, aime24', '')] == ['math500', 'aime24']


def test_a_grade_with_partial_credit_counts_as_its_score():
  assert Grade('correct').value == 1.0 and Grade('wrong').value == 0.0
  assert Grade('wrong', score=0.25).value == 0.25 and Grade('error', score=0.25).value is None
