"""The step `format` drops what is no complete problem with one verifiable answer."""
import json
from pathlib import Path

import pytest

from magistral_jax.curation import choices, format, golds, statements
from magistral_jax.curation.endpoint import Endpoint, EndpointSettings
from tests.curation import hand_written, planted

# Written by someone who wanted the rules to fail; what it said of them is in docs/curation.md.
ADVERSARIAL = Path(__file__).with_name('adversarial.jsonl')
SAME = lambda one, other: one == other


@pytest.mark.parametrize('seed', [0])
def test_planted_faults_are_found_and_nothing_else(comparer, seed):
  rows, truth = planted.mathematics(seed, each=20, clean=120)
  found = {row['id']: format.decide(row, comparer) for row in rows}
  wrong = {name: (truth.get(name), d.reason, d.detail) for name, d in found.items()
           if ('' if d.rows else d.reason) != truth.get(name, ('', ''))[1]}
  assert wrong == {}


def test_clean_statements_stay(comparer):
  for n, (problem, answer) in enumerate(hand_written.CLEAN):
    row = dict(id=str(n), problem=problem, answer=answer)
    assert format.decide(row, comparer) == format.Decision((row,)), problem


def test_faulty_statements_go_with_their_reason(comparer):
  for n, (reason, problem, answer) in enumerate(hand_written.FAULTY):
    found = format.decide(dict(id=str(n), problem=problem, answer=answer), comparer)
    assert (found.rows, found.reason) == ((), reason), problem


def test_statements_of_a_stranger(comparer):
  """Each has the reason that it is dropped for; '' if it stays, open_question if it is changed."""
  for number, line in enumerate(ADVERSARIAL.read_text().splitlines()):
    case = json.loads(line)
    found = format.decide(dict(id=str(number), problem=case['problem'], answer=case['answer']),
                          comparer)
    assert found.reason == case['reason'], (line, found)
    if 'open' in case:
      new = found.rows[0]
      assert (new['problem'], new['answer']) == (case['open'], case['gold'])


def test_a_kept_row_breaks_no_rule_of_the_step(comparer):
  """Whatever leaves the step passes it unchanged."""
  rows, _ = planted.mathematics(1, each=10, clean=40)
  for row in [*rows, *(row for row, _ in planted.choices(1))]:
    for kept in format.decide(row, comparer).rows:
      assert format.decide(kept, comparer) == format.Decision((kept,))


def test_choices_become_open_questions(comparer):
  for row, answer in planted.choices():
    found = format.decide(row, comparer)
    assert found.reason == 'open_question', (row, found.detail)
    new = found.rows[0]
    assert new['answer'] == answer and choices.find(new['problem']) is None
    assert new | dict(problem='', answer='') == row | dict(problem='', answer='')


@pytest.mark.parametrize('statement, options', [
    ('What is 2+2? (A) 3 (B) 4 (C) 5', dict(A='3', B='4', C='5')),
    ('x is\n$\\textbf{(A)}\\ \\frac12\\qquad\\textbf{(B)}\\ 1\\qquad\\textbf{(C)}\\ 2$',
     dict(A='\\frac12', B='1', C='2')),
    ('The sum:\nA. 5\nB. 6\nC. 7\nD. None', dict(A='5', B='6', C='7', D='None')),
    ('$\\mathrm{(A) \\ 7 } \\qquad \\mathrm{(B) \\ 8 } \\qquad \\mathrm{(C) \\ 9 }$',
     dict(A='7', B='8', C='9'))])
def test_options_are_found(statement, options):
  assert choices.find(statement).options == options


@pytest.mark.parametrize('statement', [
    'Points $(A)$, $(B)$ and $(C)$ lie on a line. Find the length of $AC$.',
    'Numbers satisfy: (A) each digit is 1, (B) none is last, (C) how many are there?',
    'Triangle $ABC$ has sides A, B and C. Find its area.', 'Compute $A(B(C))$.',
    'In [asy] label("A.",(0,0)); label("B.",(1,0)); label("C.",(2,0)); [/asy] find $x$.'])
def test_letters_that_are_no_options(statement):
  assert choices.find(statement) is None


@pytest.mark.parametrize('gold, right', [
    ('B', ('B', '4')), ('(B)', ('B', '4')), ('\\text{(B)}', ('B', '4')), ('4', ('B', '4')),
    ('\\textbf{(B)} 4', ('B', '4')), ('$4$', ('B', '$4$')), ('E', ('', '')), ('77', ('', ''))])
def test_the_right_option(gold, right):
  found = choices.find('What is 2+2? (A) 3 (B) 4 (C) 5')
  assert choices.right_option(found, gold, SAME) == right


def test_an_open_question_keeps_its_pictures():
  picture = '[asy] draw((0,0)--(1,1)); label("A.",(0,0)); [/asy]'
  found = choices.find(f'In the figure,{picture}how long is $AC$? (A) 3 (B) 4 (C) 5')
  statement, why = choices.open_question(found, 'B')
  assert (statement, why) == (f'In the figure, how long is $AC$?\n\n{picture}', '')


@pytest.mark.parametrize('gold, reason', [
    ('145', ''), ('\\frac{3}{7}', ''), ('x^2+1', ''), ('\\text{Monday}', ''), ('(1,2)', ''),
    ('12 \\text{ square inches}', ''), ('\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}', ''),
    ('2, 3, \\text{ and } 4', ''), ('(a) 3 (b) 4', 'several_parts'), ('Proof.', 'proof'),
    ('the set of all points that lie on the circle', 'text_answer'), ('Yes', 'guessable_answer'),
    ('\\text{(C)}', 'guessable_answer'), ('\\text{odd}', 'guessable_answer'),
    ('A, C', 'guessable_answer')])
def test_golds(gold, reason):
  assert golds.fault(gold)[0] == reason


@pytest.mark.parametrize('gold, readable', [
    ('145', True), ('097', True), ('\\frac{1}{2}', True), ('3:4', True), ('\\{1,2\\}', True),
    ('x^2+2x', True), ('(-\\infty, 3]', True), ('\\text{blue}', True), ('\\frac{1}{2', False),
    ('\\div', False), ('1, \\sqrt{', False)])
def test_a_gold_must_be_readable(comparer, gold, readable):
  assert (comparer.unreadable(gold) == '') == readable


def test_rules_about_words_are_for_english():
  assert statements.fault('Montrez que la somme vaut 12.', language='fr') == ('', '')
  assert statements.fault('Voir http://a.fr et dire combien.', language='fr')[0] == 'link'


def test_a_picture_that_the_row_brings_is_not_missing():
  text = 'How long is the bar of <image> in the figure below?'
  assert statements.fault(text)[0] == 'missing_image'
  assert statements.fault(text, images=True) == ('', '')


COMPARING = dict(id='a', answer='B', problem=(
    'Which of the following is the sum of 11 and 7? (A) 17 (B) 18 (C) 19'))


def test_a_served_model_opens_what_no_rule_can(comparer, served):
  server = served(lambda text, n: 'Sure: {"problem": "What is the sum of 11 and 7?"}')
  found = format.decide(COMPARING, comparer, Endpoint(EndpointSettings(server.url, 'm')))
  assert found.reason == 'open_question'
  assert (found.rows[0]['problem'], found.rows[0]['answer']) == (
      'What is the sum of 11 and 7?', '18')


@pytest.mark.parametrize('said', [
    'I cannot.', '{"problem": null}', '{"problem": "Is it (A) 17 (B) 18 or (C) 19?"}',
    '{"problem": "Prove that it is 18."}', '{"other": 1}', '{"problem": 5}',
    '{"problem": ' + '[' * 100_000 + '}'], ids=lambda said: said[:20])
def test_what_a_served_model_writes_is_checked(comparer, served, said):
  server = served(lambda text, n: said)
  found = format.decide(COMPARING, comparer, Endpoint(EndpointSettings(server.url, 'm')))
  assert found.rows == () and found.reason == 'multiple_choice'
  assert len(server.requests) == 2


def test_a_problem_that_the_server_refuses_is_dropped_as_without_one(comparer, served):
  server = served(lambda text, n: dict(status=400) if '11 and 7' in text else 'yes')
  found = format.decide(COMPARING, comparer, Endpoint(EndpointSettings(server.url, 'm')))
  assert found.rows == () and found.reason == 'multiple_choice'
