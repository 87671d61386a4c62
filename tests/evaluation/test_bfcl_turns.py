"""Several turns of BFCL, on programs of our own in the place of the published ones."""
import json

import pytest

from magistral_jax import evaluate
from magistral_jax.evaluation.bfcl import play, turns
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.metrics import read_lines
from tests.curation.served import Served
from tests.evaluation import cards

NAME = 'bfcl_multi_turn'
BOX = '''
class TicketAPI:
  """Counts tickets; `_load_scenario` has the published signature."""
  def _load_scenario(self, config, long_context=False):
    self.tickets, self._asked = list(config["tickets"]), 0
  def add(self, ticket, times=1):
    self.tickets += [ticket] * times
    print("added")
    return "added"
  def count(self):
    self._asked += 1
    return {"count": len(self.tickets)}
  def spin(self):
    while True: pass
  def fill(self):
    return "a" * (1 << 40)
'''
ADDER = '''
class MathAPI:
  def plus(self, a, b):
    return a + b
'''
FUNCTIONS = dict(ticket_api=['add', 'count', 'spin'], math_api=['plus'])
QUESTION = [[dict(role='user', content=text)] for text in ('Add a.', 'How many?', 'Thanks.')]
TRUTH = [["add(ticket='a')"], ['count()', 'plus(1, b=2)'], []]
ROW = dict(id='multi_turn_base_0', question=QUESTION, excluded_function=['spin'],
           involved_classes=['TicketAPI', 'MathAPI'], initial_config=dict(TicketAPI=dict(
               tickets=['z'])))
RIGHT = [['[add(ticket="a")]', 'Done.'], ['[count()]', '[plus(a=1, b=2)]', 'Two.'], ['Bye.']]


@pytest.fixture
def data(tmp_path):
  """The published layout, with one conversation; the path of its file."""
  code = tmp_path.joinpath(*play.PLACE.split('.'))
  code.mkdir(parents=True)
  (code / 'ticket_api.py').write_text(BOX)
  (code / 'math_api.py').write_text(ADDER)
  folder = tmp_path / 'bfcl_eval/data'
  for name in ('possible_answer', 'multi_turn_func_doc'):
    (folder / name).mkdir(parents=True)
  path = folder / 'BFCL_v4_multi_turn_base.json'
  path.write_text(json.dumps(ROW))
  (folder / 'possible_answer' / path.name).write_text(json.dumps(dict(
      id=ROW['id'], ground_truth=TRUTH)))
  for name, functions in FUNCTIONS.items():
    (folder / f'multi_turn_func_doc/{name}.json').write_text(''.join(json.dumps(dict(
        name=one, description='', parameters={}, response={})) + '\n' for one in functions))
  return path


@pytest.fixture
def item(data):
  found, = cards.read(NAME, data)
  return found


def grade(item, response):
  return CARDS[NAME].grade(item, json.dumps(response))


def test_the_published_calls_are_right_in_any_steps(item):
  assert grade(item, RIGHT).status == 'correct'
  other = [['<think>[count()]</think>[add(ticket="a")]'], ['[plus(a=1, b=2), count()]'], []]
  assert grade(item, other).status == 'correct'
  # What was said in a turn before counts, and so does more than is asked for.
  early = [['[plus(b=2, a=1), add(ticket="a"), count()]'], ['[count()]'], ['[count()]']]
  assert grade(item, early).status == 'correct'


@pytest.mark.parametrize('turn, steps, words', [
    (0, ['Done.'], 'turn 1: nothing is called'),
    (0, ['[add(ticket="a", times=2)]'], 'turn 1: TicketAPI.tickets is not what it should be'),
    (0, ['[add("a")]'], 'TicketAPI.tickets'),
    (0, ['[add(ticket="a")]', '[add(ticket="a")]'], 'TicketAPI.tickets'),
    (1, ['[plus(a=1, b=3), count()]'], 'turn 2: no call says 3'),
    (1, ['[plus(a=1, b=2), count(x=1)]'], 'turn 2: no call says {"count": 2}'),
    (1, ['[plus(a=1, b=2), _load_scenario(config={})]'], 'turn 2: no call says {"count": 2}')])
def test_another_state_or_answer_is_wrong(item, turn, steps, words):
  found = grade(item, [*RIGHT[:turn], steps, *RIGHT[turn + 1:]])
  assert found.status == 'wrong' and words in found.detail


@pytest.mark.parametrize('response, status', [
    ('', 'no_answer'), ('[add(ticket="a")]', 'no_answer'), ('["a"]', 'no_answer'),
    ('[[1]]', 'no_answer'), ('[' * 9999, 'no_answer'), ('[]', 'wrong'),
    (json.dumps(RIGHT[:2]), 'wrong'), (json.dumps([*RIGHT, []]), 'wrong'),
    (json.dumps([[f'[{"count(), " * 1001}count()]'], *RIGHT[1:]]), 'wrong')],
    ids=lambda value: value[:12])
def test_what_is_no_list_of_turns_is_no_answer_and_too_few_turns_are_wrong(item, response, status):
  assert CARDS[NAME].grade(item, response).status == status


@pytest.mark.long
@pytest.mark.parametrize('call', ['spin()', 'fill()'])
def test_a_call_that_takes_too_much_ends_its_process_alone(item, monkeypatch, call):
  monkeypatch.setattr(turns, 'CPU_S', 1)
  found = grade(item, [[f'[{call}]'], *RIGHT[1:]])
  # A program that runs out of memory says so, as of any other error, and goes on.
  assert found.status == ('timeout' if call == 'spin()' else 'wrong')


def test_nothing_of_a_response_is_run(item, tmp_path):
  call = f'[add(ticket=open("{tmp_path}/x", "w"))]'
  assert grade(item, [[call], *RIGHT[1:]]).status == 'wrong'
  assert not (tmp_path / 'x').exists()


def test_a_served_model_is_told_what_its_calls_return(data, tmp_path):
  said = [text for turn in RIGHT for text in turn]
  server = Served(lambda text, number: f'<think>{number}</think>{said[number]}')
  evaluate.main(evaluate.parse([
      'evaluate', f'--benchmark={NAME}', f'--data={data}', f'--output={tmp_path}/out',
      f'--endpoint={server.url}', '--model=m', '--config.runtime.verifier_workers=1']))
  server.close()
  line, = read_lines(tmp_path / 'out/responses.jsonl')
  assert line['status'] == 'correct' and [len(turn) for turn in json.loads(line['response'])] == [
      2, 3, 1]
  sent = [request['messages'] for request in server.requests]
  assert [len(messages) for messages in sent] == [1, 3, 5, 7, 9, 11]
  assert '"add"' in sent[0][0]['content'] and '"spin"' not in sent[0][0]['content']
  assert sent[1][1] == dict(role='assistant', content='[add(ticket="a")]')
  assert json.loads(sent[1][2]['content']) == [dict(name='add', content='added')]
  assert [sent[n][-1]['content'] for n in (2, 5)] == ['How many?', 'Thanks.']


def test_a_conversation_is_cut_off_where_one_of_its_texts_is(data, tmp_path):
  said = [text for turn in RIGHT for text in turn]
  server = Served(lambda text, number: dict(body=json.dumps(dict(choices=[dict(
      message=dict(content=said[number]), finish_reason='length' if number == 1 else 'stop')]))))
  evaluate.main(evaluate.parse([
      'evaluate', f'--benchmark={NAME}', f'--data={data}', f'--output={tmp_path}/out',
      f'--endpoint={server.url}', '--model=m', '--config.runtime.verifier_workers=1']))
  server.close()
  line, = read_lines(tmp_path / 'out/responses.jsonl')
  assert line['correct'] and line['truncated']


def test_a_model_that_calls_on_and_on_is_stopped(data, tmp_path, monkeypatch):
  monkeypatch.setattr(turns, 'results', lambda item, said: [(turns.Made('count', (), {}), '1')])
  server = Served(lambda text, number: '[count()]')
  evaluate.main(evaluate.parse([
      'evaluate', f'--benchmark={NAME}', f'--data={data}', f'--output={tmp_path}/out',
      f'--endpoint={server.url}', '--model=m', '--config.runtime.verifier_workers=1']))
  server.close()
  line, = read_lines(tmp_path / 'out/responses.jsonl')
  assert len(server.requests) == 21 and line['status'] == 'wrong'
  assert line['truncated'] and line['detail'] == '1 of 3 turns'


@pytest.mark.parametrize('changes, words', [
    (dict(involved_classes=['BankAPI']), "'BankAPI', which is none of GorillaFileSystem"),
    (dict(involved_classes=['TwitterAPI']), 'posting_api.json, which is missing'),
    (dict(question=QUESTION[:2]), 'has no "ground_truth" of 2 turns'),
    (dict(id='multi_turn_base_9'), 'has no "ground_truth" of 3 turns'),
    (dict(question=[['a']] * 3), 'needs messages with a "content"')])
def test_files_that_cannot_be_read_are_told(data, changes, words):
  data.write_text(json.dumps(ROW | changes))
  with pytest.raises(ValueError) as error:
    cards.read(NAME, data)
  assert words in str(error.value) and str(data) in str(error.value)


def test_the_programs_must_lie_beside_the_data(data, tmp_path):
  (tmp_path / 'bfcl_eval/eval_checker').rename(tmp_path / 'other')
  with pytest.raises(ValueError, match='the programs are missing: .* must lie in bfcl_eval/data'):
    cards.read(NAME, data)


def test_a_checkpoint_is_asked_through_a_server(data, tmp_path, capsys):
  with pytest.raises(SystemExit):
    evaluate.main(evaluate.parse([
        'evaluate', f'--benchmark={NAME}', f'--data={data}', f'--output={tmp_path}/out',
        '--config=configs/quickstart.py', '--checkpoint=nowhere']))
  assert 'a checkpoint holds behind a server alone' in capsys.readouterr().err
