"""IFEval: the published grader's verdicts, hand-made cases, hostile responses, wrong files."""
import gzip
import hashlib
import json
import time
from pathlib import Path

import pytest

from magistral_jax.evaluation.ifeval import following, instructions, sentences, words
from tests.evaluation import cards, ifeval_responses

GOLDEN = json.loads(gzip.decompress(
    (Path(__file__).parent.parent / 'golden/ifeval.json.gz').read_bytes()))
SAMPLE = dict(num_sentences=2, relation='at least', num_paragraphs=2, num_words=5,
              nth_paragraph=1, first_word='a', num_placeholders=2, postscript_marker='P.S.',
              num_bullets=2, num_highlights=2, section_spliter='Section', num_sections=2,
              prompt_to_repeat='Say a.', end_phrase='Bye.', capital_frequency=2,
              capital_relation='at least', letter='a', let_frequency=2, let_relation='at least',
              keywords=['a.b', 'red'], keyword='red', frequency=2, forbidden_words=['a.b', 'red'],
              language='en')


def arguments(kind):
  return {name: SAMPLE[name] for name in instructions.KINDS[kind][1]}


def disagreements(items):
  """(id, kind) of the verdicts that are not those of the published grader; verdicts compared."""
  found, count = [], 0
  for item in items:
    asked = following.read_instructions(item['instruction_id_list'], item['kwargs'])
    strict, loose = item['strict'].split(' '), item['loose'].split(' ')
    for response, *theirs in zip(
        ifeval_responses.responses(item, len(strict)), strict, loose, strict=True):
      ours = following.followed(asked, response)
      for i, (kind, _) in enumerate(asked):
        count += 1
        if [ours.strict[i], ours.loose[i]] != [flags[i] == '1' for flags in theirs]:
          found.append((item['id'], kind))
  return found, count


def test_verdicts_are_those_of_the_published_grader():
  items = [item for item in GOLDEN['items'] if not item['at_fault']]
  kinds = {kind for item in items for kind in item['instruction_id_list']}
  assert kinds == set(instructions.KINDS)
  found, count = disagreements(items[::8])
  assert found == [] and count > 500


@pytest.mark.long
def test_all_verdicts_are_those_of_the_published_grader():
  digest = hashlib.sha256()
  for item in GOLDEN['items']:
    for response in ifeval_responses.responses(item, len(item['strict'].split(' '))):
      digest.update(response.encode() + b'\0')
  assert digest.hexdigest() == GOLDEN['responses_sha256']
  found, count = disagreements(GOLDEN['items'])
  at_fault = {item['id'] for item in GOLDEN['items'] if item['at_fault']}
  assert count > 6000
  assert {id_ for id_, _ in found} <= at_fault
  assert {kind for _, kind in found} <= {'keywords:letter_frequency'}


@pytest.mark.parametrize('letter', '#!')
def test_a_sign_is_counted_as_itself(letter):
  rule = dict(letter=letter, let_frequency=3, let_relation='at least')
  kind = 'keywords:letter_frequency'
  assert instructions.follows(kind, f'a{letter}b{letter}{letter}', rule)
  assert not instructions.follows(kind, f'a{letter}b{letter}', rule)


@pytest.mark.parametrize('text, count', [
    ('Dr. Smith left at 5 p.m. He was tired.', 2), ('I met J. Smith. He left.', 2),
    ('Wait... what? No!', 2), ('"Hi." he said. (Yes.) No.', 4), ('', 0), ('no end', 1),
    ('He lives in the U.S. The end.', 2), ('It is 3.5. 4 is more.', 2)])
def test_sentences(text, count):
  assert len(list(sentences.split(text))) == count


@pytest.mark.parametrize('text, capitals', [
    ("IT'S DON'T CANNOT", ['IT', "'S", 'DO', "N'T", 'CAN', 'NOT']), ('A-B U.S. x', ['A-B', 'U.S.']),
    ('NASA, (NATO) "EU".', ['NASA', 'NATO', 'EU']), ('3D Abc 12', ['3D'])])
def test_words_in_capitals(text, capitals):
  assert list(words.capitals(text)) == capitals


def test_keywords_are_text():
  existence = dict(keywords=['a.b'])
  assert instructions.follows('keywords:existence', 'A.B', existence)
  assert not instructions.follows('keywords:existence', 'axb', existence)


def test_variants_forgive_a_line_around_the_text_and_asterisks():
  asked = following.read_instructions(['startend:quotation', 'punctuation:no_comma'], [{}, {}])
  response = 'Sure, here it is:\n**"Hello."**'
  assert following.followed(asked, response) == ([False, False], [True, True])
  assert following.followed(asked, '\n') == ([False, False], [False, False])


HOSTILE = ['', '\x00', '\ud800', '[' * 5000, '{"a":' * 5000, '9' * 5000, ' \n' * 500, '*' * 999,
           '<<' * 500, 'p.\n' * 500, "'\"" * 500, '\u2028\x1c\x85', 'अ' * 500, 'e.g. ' * 500]


@pytest.mark.parametrize('kind', instructions.KINDS)
def test_every_response_has_a_verdict(kind):
  asked = following.read_instructions([kind], [arguments(kind)])
  for response in HOSTILE:
    found = following.followed(asked, response)
    assert [type(ok) for flags in found for ok in flags] == [bool, bool]


@pytest.mark.long
@pytest.mark.parametrize('piece', ['a', 'A ', '\n', '[', '**', '* ', '<<a', 'p.\n', "'", ' ', '{',
                                   '.)', 'e.g. ', '!a', '***\n', 'अ', 'a@', '. . '])
def test_a_megabyte_takes_seconds(piece):
  response = (piece * (1 << 20))[:1 << 20]
  for kind in instructions.KINDS:
    start = time.process_time()
    following.followed(following.read_instructions([kind], [arguments(kind)]), response)
    assert time.process_time() - start < 60, kind


def test_a_response_that_no_model_writes_is_not_read():
  row = dict(key=1, prompt='?', instruction_id_list=['punctuation:no_comma'], kwargs=[{}])
  item = cards.item('ifeval', row)
  lines = cards.judged('ifeval', item, 'a' * 200_000, 'a' * 200_001)
  assert [line['status'] for line in lines] == ['correct', 'no_answer']
  assert [line['followed_loose'] for line in lines] == [[True], [False]]
  assert 'longer than 200,000' in lines[1]['detail']


@pytest.mark.parametrize('kinds, given, words', [
    (['a:b'], [{}], "'a:b' is none of the 25"), (['punctuation:no_comma'], [], '0'),
    (['keywords:existence'], [{}], "needs the argument 'keywords'"),
    (['keywords:existence'], [{'keywords': 'red'}], 'a list of words'),
    (['startend:quotation'], [{'letter': 'a'}], "takes no argument 'letter'"),
    (['length_constraints:number_words'], [{'num_words': 3, 'relation': 'around'}], 'less than'),
    (['length_constraints:number_paragraphs'], [{'num_paragraphs': -1}], 'whole number'),
    (['length_constraints:nth_paragraph_first_word'],
     [{'num_paragraphs': 2, 'nth_paragraph': 3, 'first_word': 'a'}], 'between 1 and'),
    (['keywords:letter_frequency'],
     [{'letter': 'ab', 'let_frequency': 1, 'let_relation': 'at least'}], 'one letter')])
def test_wrong_instructions_are_named(kinds, given, words):
  with pytest.raises(ValueError, match=words):
    following.read_instructions(kinds, given)


def test_the_card_reports_four_figures():
  row = dict(key=7, prompt='No commas, end with Bye.', kwargs=[
      {'num_words': None}, {'end_phrase': 'Bye.', 'num_words': None}],
             instruction_id_list=['punctuation:no_comma', 'startend:end_checker'])
  item = cards.item('ifeval', row)
  lines = cards.judged('ifeval', item, '<think>a, b</think>So. Bye.', 'So, yes.\nGood. Bye.', '',
                       '<think>Bye.')
  assert item.id == '7'
  assert [line['status'] for line in lines] == ['correct', 'wrong', 'no_answer', 'no_answer']
  assert lines[1]['followed_strict'] == [False, True]
  assert lines[1]['followed_loose'] == [True, True]
  found = cards.figures('ifeval', [item], lines, 4)
  assert found['pass@1'] == found['prompt_strict'] == 1 / 4
  assert found['prompt_loose'] == found['instruction_loose'] == 1 / 2
  assert found['instruction_strict'] == 3 / 8
  assert found['no_answer'] == 2
