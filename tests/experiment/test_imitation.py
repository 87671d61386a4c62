"""What the cold start imitates of a config's files, and what it leaves out."""
import json
import logging

import pytest

from magistral_jax.experiment import build, checks, imitation
from tests import tiny

SUM = 'a, b = map(int, input().split())\nprint(a + b)'
PAIRS = [dict(stdin='1 2', stdout='3')]


@pytest.fixture
def found(tmp_path):
  """Function of lines, conversations and overrides: the examples of the tiny quickstart."""
  def found(lines, talks=(), **overrides):
    for name, rows in (('traces', lines), ('chat', talks)):
      (tmp_path / f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    share = 0.25 if talks else 0.0
    c = tiny.shrink(tiny.load(), **{
        'cold_start.path': str(tmp_path / 'traces.jsonl'), 'cold_start.examples': 100,
        'batching.row_tokens': 256,
        'cold_start.conversations': str(tmp_path / 'chat.jsonl') if talks else '',
        'cold_start.conversation_share': share} | overrides)
    checks.check(c)
    tok = build.tokenizer(c)
    config = build.model_config(c, tok.vocab_size)
    examples = imitation.examples(c, tok, config, build.stream(c, tok, config))
    return [(tok.decode(prompt[1:]), tok.decode(response[:-1])) for prompt, response, _ in examples]
  return found


def test_traces_solutions_programs_and_conversations_become_examples(found):
  lines = [dict(problem='1+1?', answer='2', response='<think>a</think>\\boxed{2}'),
           dict(problem='2+2?', answer='4', solution='2+2=4'),
           dict(problem='Add.', language='python', tests=PAIRS, solution=SUM)]
  talk = dict(messages=[dict(role='user', content='Hi'), dict(role='assistant', content='Ho')])
  assert found(lines, [talk], **{'data.system_prompt': 'S'}) == [
      ('S\n\n1+1?\n', '<think>a</think>\\boxed{2}'),
      ('S\n\n2+2?\n', '<think>\n2+2=4\n</think>\n\nThe answer is \\boxed{4}.'),
      ('S\n\nAdd.\n\nWrite the program in Python, in one block that begins with ```python. It '
       'reads standard input and writes standard output.\n',
       f'<think>\n\n</think>\n\n```python\n{SUM}\n```'), ('Hi\n', 'Ho')]


def test_what_would_earn_nothing_is_left_out_with_its_line(found, caplog):
  good = dict(problem='1+1?', answer='2', solution='1+1=2')
  bad = [dict(problem='a?', answer='2', response='<think>a</think>\\boxed{}'),
         dict(problem='b', tests=PAIRS, language='python', response='<think>b</think>No idea.'),
         dict(problem='c', tests=PAIRS, language='cpp', solution=f'```python\n{SUM}\n```')]
  with caplog.at_level(logging.WARNING):
    assert len(found([bad[0], good, *bad[1:]])) == 1
  assert '3 examples of the cold start would earn nothing, or are held out, and' in caplog.text
  for words in ('line 1: the last \\boxed{} is empty.', 'line 3: no response can be made of its',
                'line 4: the program is in python and cpp is asked for.'):
    assert words in caplog.text
  with pytest.raises(ValueError, match='None of the 3 cold-start examples would earn anything'):
    found(bad)


def test_held_out_problems_are_not_imitated(found, tmp_path, caplog):
  problems = tmp_path / 'problems.jsonl'
  tiny.write_problems(problems)
  held = build.source(tiny.load(**{
      'data.source': 'jsonl', 'data.jsonl.path': str(problems), 'data.jsonl.held_out': 4}))
  lines = [dict(problem=p.text.upper(), answer=p.answer, solution='x')
           for p in (*held.training, *held.evaluation)]
  with caplog.at_level(logging.WARNING):
    kept = found(lines, **{'data.source': 'jsonl', 'data.jsonl.path': str(problems),
                           'data.jsonl.held_out': 4})
  assert len(kept) == len(held.training) and 'the problem is held out.' in caplog.text


def test_conversations_without_a_share_would_not_be_read():
  with pytest.raises(ValueError, match='conversations=.* would not be read, since .*share is 0'):
    checks.check_values(tiny.shrink(tiny.load(), **{'cold_start.conversations': 'a.jsonl'}))


def test_a_share_of_conversations_needs_files_of_them_except_for_a_plan():
  c = tiny.shrink(tiny.load(), **{'cold_start.conversation_share': 0.1})
  checks.check_values(c)
  assert 'cold_start.conversations' in checks.unnamed(c)
  with pytest.raises(ValueError, match='set cold_start.conversations to files of them'):
    checks.check(c)
