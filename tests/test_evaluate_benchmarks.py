"""The command `evaluate --benchmark`: stored responses, served models, and what they come to."""
import json

import pytest

from magistral_jax import evaluate
from magistral_jax.metrics import read_lines
from tests.curation.served import Served

GOLDS = {'p0': '2', 'p1': '\\frac{1}{2}', 'p2': 'x+1', 'p3': '5'}
RESPONSES = [
    dict(id='p0', sample=0, response='<think>1+1</think>\\boxed{2}', tokens=9),
    dict(id='p0', sample=1, response='\\boxed{3}', tokens=3),
    dict(id='p1', sample=0, response='\\boxed{0.5}'),
    dict(id='p1', sample=1, response=''),
    dict(id='p2', sample=0, response='<think>Let me', finish='length'),
    dict(id='p2', sample=1, response='It is 1+x.'),
    dict(id='p3', sample=0, response=None),
]


def data(folder, **golds):
  path = folder / 'math500.jsonl'
  path.write_text(''.join(json.dumps(dict(id=id_, problem=f'{id_}?', answer=gold)) + '\n'
                          for id_, gold in (golds or GOLDS).items()))
  return path


def run(folder, *flags, output='out', name='math500'):
  evaluate.main(evaluate.parse(['evaluate', f'--benchmark={name}', f'--output={folder / output}',
                                '--config.runtime.verifier_workers=1', *flags]))
  return json.loads((folder / output / 'results.json').read_text())[name]


def store(folder, lines, name='responses.jsonl'):
  path = folder / name
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  return path


def test_stored_responses_are_judged_and_counted(tmp_path, capsys):
  path = store(tmp_path, RESPONSES)
  flags = [f'--data={data(tmp_path)}', f'--responses={path}']
  found = run(tmp_path, *flags)
  assert found['pass@1'] == pytest.approx((0.5 + 0.5 + 0.0) / 3)
  assert (found['items'], found['samples'], found['missing'], found['failed']) == (4, 2, 2, 0)
  assert (found['no_answer'], found['truncated'], found['mean_tokens']) == (3, 1, 6)
  lines = read_lines(tmp_path / 'out/responses.jsonl')
  assert [(line['id'], line['sample'], line['status']) for line in lines] == [
      ('p0', 0, 'correct'), ('p0', 1, 'wrong'), ('p1', 0, 'correct'), ('p1', 1, 'no_answer'),
      ('p2', 0, 'no_answer'), ('p2', 1, 'no_answer')]
  assert {'id', 'sample', 'response', 'status', 'correct', 'answer', 'detail'} <= set(lines[0])
  shown = capsys.readouterr().out
  assert 'Magistral Medium' in shown and json.loads(shown.splitlines()[-1]) == dict(
      math500=found['pass@1'])
  # In another order, by two workers, out of our own output: the same file.
  first = (tmp_path / 'out/responses.jsonl').read_bytes()
  other = store(tmp_path, lines[::-1], 'again.jsonl')
  run(tmp_path, flags[0], f'--responses={other}', '--config.runtime.verifier_workers=2',
      output='again')
  assert (tmp_path / 'again/responses.jsonl').read_bytes() == first


def test_a_config_of_a_sampler_alone_is_enough(tmp_path):
  (tmp_path / 'short.py').write_text(
      'import ml_collections\ndef get_config():\n  return ml_collections.ConfigDict(dict(seed=0))')
  found = run(tmp_path, f'--data={data(tmp_path)}', f'--responses={store(tmp_path, RESPONSES)}',
              f'--config={tmp_path}/short.py')
  assert found['items'] == 4


@pytest.mark.parametrize('lines, words', [
    ([dict(id='p0', response='x')], 'line 1: "sample" is missing'),
    ([dict(sample=0, response='x')], 'line 1: "id" is missing'),
    ([dict(id='p0', sample=0)], 'line 1: "response" is missing'),
    ([dict(id='p9', sample=0, response='x')], '"id" \'p9\' is none of the 4 items'),
    ([dict(id='p0', sample=0, response=3)], '"response" must be text'),
    ([dict(id='p0', sample=0, response='x', benchmark=['math500'])], '"benchmark" must be text'),
    ([dict(id='p0', sample=-1, response='x')], '"sample" must be a whole number'),
    ([dict(id='p0', sample=0, response='x')] * 2, 'line 2: sample 0 of "id" \'p0\' stands on line'),
    ([dict(id='p0', sample=0, response='x', truncated='yes')], '"truncated" must be true or false'),
    ([], 'has no response to an item of math500'),
    (None, 'is no file'),
])
def test_bad_responses_are_one_sentence_with_their_line(tmp_path, capsys, lines, words):
  path = tmp_path / 'none.jsonl' if lines is None else store(tmp_path, lines)
  with pytest.raises(SystemExit) as ended:
    run(tmp_path, f'--data={data(tmp_path)}', f'--responses={path}')
  shown = capsys.readouterr().err
  assert ended.value.code == 2 and shown.count('\n') == 1 and words in shown


@pytest.mark.parametrize('flags, words', [
    (['--benchmark=aime42'], "--benchmark='aime42' is unknown"),
    (['--data=nowhere'], "--data='nowhere' does not exist"),
    (['--data='], '--data is missing'),
    (['--endpoint=x', '--model=m'], 'name one of --checkpoint'),
    (['--samples=-1'], '--samples=-1 must be at least 0'),
    (['--top_p=1.5'], '--top_p=1.5 must be above 0'), (['--top_p=nan'], '--top_p=nan must'),
    (['--temperature=nan'], '--temperature=nan must be a number'),
    (['--output='], '--output is missing'),
    (['--suite=mistral'], 'did you mean'),
])
def test_bad_flags_are_one_sentence(tmp_path, capsys, flags, words):
  with pytest.raises(SystemExit) as ended:
    run(tmp_path, f'--data={data(tmp_path)}', f'--responses={store(tmp_path, RESPONSES)}', *flags)
  assert ended.value.code == 2 and words in capsys.readouterr().err


def solver(text, number):
  """Right, with what a server says of lengths; 'p3' is refused at first."""
  id_ = text.split('?')[0]
  if id_ == 'p3' and number < 8:
    return dict(status=400, body='too long')
  return dict(body=json.dumps(dict(
      choices=[dict(message=dict(content=f'\\boxed{{{GOLDS[id_]}}}'),
                    finish_reason='length' if id_ == 'p2' else 'stop')],
      usage=dict(completion_tokens=7))))


def test_a_served_model_is_asked_until_every_sample_is_there(tmp_path, capsys):
  server = Served(solver)
  flags = [f'--data={data(tmp_path)}', f'--endpoint={server.url}', '--model=m', '--samples=2',
           '--endpoint_concurrency=3', '--endpoint_attempts=1', '--max_tokens=99',
           '--temperature=0.5', '--system_prompt=Think.']
  found = run(tmp_path, *flags)
  # A request that is refused is no wrong answer.
  assert (found['pass@1'], found['failed'], found['missing'], found['truncated']) == (1.0, 2, 0, 2)
  assert found['mean_tokens'] == 7 and 'too long' in found['failed_named'][0]
  asked = server.requests[0]
  assert (asked['max_tokens'], asked['temperature'], asked['top_p']) == (99, 0.5, 1.0)
  assert asked['messages'][0] == dict(role='system', content='Think.')
  assert 'boxed' in asked['messages'][1]['content'] and server.most_at_once <= 3
  assert len({request['seed'] for request in server.requests}) == 8
  # The same command asks for what failed, and for nothing else, with the seeds from before.
  before = {request['seed'] for request in server.requests}
  again = run(tmp_path, *flags)
  assert (again['pass@1'], again['failed'], again['items_judged']) == (1.0, 0, 4)
  new = server.requests[8:]
  assert len(new) == 2 and all(request['seed'] in before for request in new)
  lines = read_lines(tmp_path / 'out/responses.jsonl')
  assert [(line['id'], line['sample']) for line in lines] == [
      (id_, sample) for id_ in GOLDS for sample in (0, 1)]
  # Other settings do not go into the same folder.
  with pytest.raises(SystemExit):
    run(tmp_path, *flags, '--temperature=0.9')
  assert 'of another evaluation' in capsys.readouterr().err
  server.close()


@pytest.mark.parametrize('reply, words', [
    (dict(status=401, body='no key'), 'HTTP 401'),
    (dict(body='nonsense'), 'gave no usable answer in 1 attempts'),
    (dict(hang_up=True), 'gave no usable answer')])
def test_a_server_that_answers_nothing_ends_the_command_with_a_sentence(
    tmp_path, capsys, reply, words):
  server = Served(lambda text, number: reply)
  with pytest.raises(SystemExit) as ended:
    run(tmp_path, f'--data={data(tmp_path)}', f'--endpoint={server.url}', '--model=m',
        '--samples=1', '--endpoint_attempts=1')
  server.close()
  assert ended.value.code == 2 and words in capsys.readouterr().err


def test_what_a_server_said_before_it_failed_is_kept(tmp_path, capsys):
  good = lambda text: f'\\boxed{{{GOLDS[text.split("?")[0]]}}}'
  server = Served(lambda text, number: dict(status=401, body='no key') if number == 5 else
                  good(text))
  flags = [f'--data={data(tmp_path)}', f'--endpoint={server.url}', '--model=m', '--samples=2',
           '--endpoint_attempts=1', '--endpoint_concurrency=1']
  with pytest.raises(SystemExit):
    run(tmp_path, *flags)
  assert 'HTTP 401' in capsys.readouterr().err
  assert [line['status'] for line in read_lines(tmp_path / 'out/responses.jsonl.partial')] == [
      'correct'] * 5
  server.close()
  # Another server may go on, as long as it serves the same model.
  other = Served(lambda text, number: good(text))
  flags[1] = f'--endpoint={other.url}'
  with pytest.raises(SystemExit):
    run(tmp_path, *flags, '--model=n')
  assert 'begun otherwise (model was' in capsys.readouterr().err and not other.requests
  found = run(tmp_path, *flags)
  other.close()
  assert (found['pass@1'], found['responses'], len(other.requests)) == (1.0, 8, 3)


def test_a_server_that_says_absurd_numbers_of_tokens_is_not_believed(tmp_path):
  server = Served(lambda text, number: dict(body=json.dumps(dict(
      choices=[dict(message=dict(content='\\boxed{2}'))],
      usage=dict(completion_tokens=10**14)))))
  found = run(tmp_path, f'--data={data(tmp_path)}', f'--endpoint={server.url}', '--model=m',
              '--samples=1', '--endpoint_timeout_s=5')
  server.close()
  assert (found['responses'], found['mean_tokens']) == (4, None)


def test_an_image_that_is_missing_fails_its_sample_and_is_named(tmp_path, capsys):
  path, image = tmp_path / 'mathvista.jsonl', tmp_path / 'b.png'
  image.write_bytes(b'png')
  path.write_text(''.join(json.dumps(dict(pid=name, question='How long?', answer='5',
                                          image=f'{name}.png')) + '\n' for name in 'ab'))
  server = Served(lambda text, number: 'Final Answer: 5')
  flags = [f'--data={path}', f'--endpoint={server.url}', '--model=m']
  found = run(tmp_path, *flags, name='mathvista')
  assert (found['pass@1'], found['failed']) == (1.0, 1) and "a.png' cannot" in found[
      'failed_named'][0]
  image.unlink()
  with pytest.raises(SystemExit):
    run(tmp_path, *flags, name='mathvista', output='other')
  shown = capsys.readouterr().err
  assert 'error: mathvista, ' in shown and "png' cannot be read" in shown
  server.close()


def test_two_results_are_compared(tmp_path, capsys):
  path = data(tmp_path)
  for name, second in (('a', ''), ('b', '\\boxed{1/2}')):
    texts = ['\\boxed{2}', second, '', '']
    run(tmp_path, f'--data={path}', '--responses=' + str(store(tmp_path, [
        dict(id=id_, sample=0, response=text)
        for id_, text in zip(GOLDS, texts, strict=True)])), output=name)
  capsys.readouterr()
  evaluate.main(evaluate.parse(
      ['evaluate', '--compare', str(tmp_path / 'a'), str(tmp_path / 'b')]))
  found = json.loads(capsys.readouterr().out.splitlines()[-1])['math500']
  assert (found['first'], found['second'], found['better']) == (0.25, 0.5, ['p1'])
  assert found['mcnemar'] == 1.0 and found['interval'][0] <= 0.25 <= found['interval'][1]
  with pytest.raises(SystemExit):
    evaluate.main(evaluate.parse(
        ['evaluate', '--compare', str(tmp_path / 'c'), str(tmp_path / 'b')]))
  assert 'has no responses.jsonl' in capsys.readouterr().err
  for change in (dict(benchmark=['x']), dict(id=3), dict(correct=[])):
    line = dict(benchmark='x', id='1', status='correct', correct=True) | change
    store(tmp_path / 'b', [line])
    with pytest.raises(SystemExit):
      evaluate.main(evaluate.parse(
          ['evaluate', '--compare', str(tmp_path / 'b'), str(tmp_path / 'b')]))
    assert 'responses.jsonl, line 1: ' in capsys.readouterr().err


def test_the_list_says_of_every_card_what_it_is(capsys):
  evaluate.main(evaluate.parse(['evaluate', '--list']))
  shown = capsys.readouterr().out
  for words in ('aime24:', '64 samples', 'maj@64', 'temperature 0.7', 'checked'):
    assert words in shown
