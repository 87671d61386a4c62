"""Generated pages: docs/config.md out of the schema, and the table of configs/README.md.

    python -m magistral_jax.experiment.reference

writes both, in the repository that is the current folder.
"""

from __future__ import annotations

import ast
import pathlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from magistral_jax.experiment import cli, schema, values

PAGE, CONFIGS = pathlib.Path('docs/config.md'), pathlib.Path('configs')
BASE = 'quickstart'
ABSENT = '–'

HEAD = """# Config reference

Generated from `magistral_jax/experiment/schema.py` by
`python -m magistral_jax.experiment.reference`.

A config is a Python file whose `get_config()` returns an `ml_collections.ConfigDict`; those of
[configs/](../configs/README.md) are experiments to copy. It writes the value of every key that it
chooses, and no other key. Most sections are always there; one with a condition is there only while
the condition holds.

`--config.KEY=VALUE` on the command line changes a value. One that chooses a section, such as
`--config.data.source=jsonl`, brings the keys of that section with the starting values below and
takes out those of the section that is no longer chosen; `--dry_run` prints the config that results.
A key that nothing would read is refused, and so is a value out of its limit.
"""


def page() -> str:
  """The text of docs/config.md."""
  parts = [HEAD]
  for section in schema.SECTIONS:
    title = f'## `{section.name}`' if section.name else '## The run'
    if section.when is not None:
      title = f'#{title}, where {_code(section.when.key, section.when.words)}'
    parts += [f'{title}\n', textwrap.fill(section.meaning, 100) + '\n',
              markdown(*_rows(section)) + '\n']
  return '\n'.join(parts)


def differences(folder: pathlib.Path) -> str:
  """Markdown of what the configs of a folder ask, and of what they have otherwise than BASE.

  The second table has a row for each key that differs somewhere, in the order of the schema. A cell
  is empty where a config is like BASE, and a dash where it does not have the key.
  """
  asked, flat = {}, {}
  for path in sorted(folder.glob('*.py')):
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    asked[path.stem] = text.partition('\n\n')[0].replace('\n', ' ')
    flat[path.stem] = dict(values.flat(cli.load_config(str(path))))
  base, others = flat[BASE], {name: c for name, c in flat.items() if name != BASE}
  rows = []
  order = list(schema.KEYS)
  for key in sorted({key for c in flat.values() for key in c},
                    key=lambda key: (order.index(schema.general(key)), key)):
    cells = [shown if (shown := _shown(c, key)) != _shown(base, key) else ''
             for c in others.values()]
    if any(cells):
      rows.append([f'`{key}`', _shown(base, key), *cells])
  same = len(base) - sum(row[1] != ABSENT for row in rows)
  return '\n'.join([
      markdown(['config', 'keys', 'question'],
               [[f'`{name}`', str(len(flat[name])), asked[name]] for name in flat]), '',
      f'The schema has {len(schema.KEYS)} keys; {same} are in every config and have the same value '
      f'in all. The others:', '',
      markdown(['key', f'`{BASE}`', *(f'`{name}`' for name in others)], rows)])


def replace(text: str, name: str, table: str) -> str:
  """A page with `table` between its lines <!-- name: begin --> and <!-- name: end -->.

  Raises:
    ValueError: the page does not have both marks, in their order.
  """
  begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
  before, _, rest = text.partition(begin)
  _, found, after = rest.partition(end)
  if not found:
    raise ValueError(f'The page has no lines {begin} and {end} for the table to stand between: '
                     f'write them where it belongs.')
  return f'{before}{begin}\n{table}\n{end}{after}'


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A Markdown table."""
  cells = lambda row: ' | '.join(cell.replace('|', '\\|') for cell in row)
  return '\n'.join(f'| {cells(row)} |' for row in (head, ['---'] * len(head), *rows))


def _rows(section: schema.Section) -> tuple[list[str], list[list[str]]]:
  """(head, rows) of the table of one section."""
  head, rows = ['key', 'value', 'meaning'], []
  for name, key in section.names().items():
    row = [f'`{name}`', key.limit.words, key.meaning]
    rows.append(row if section.when is None else [*row[:2], f'`{key.start!r}`', row[2]])
  return (head if section.when is None else ['key', 'value', 'starting value', 'meaning']), rows


def _code(key: str, words: str) -> str:
  """'`data.source` is `'jsonl'`'."""
  return f'`{key}` ' + ' '.join(f'`{word}`' if word.startswith("'") else word
                                for word in words.split())


def _shown(flat: Mapping, key: str) -> str:
  return f'`{flat[key]!r}`' if key in flat else ABSENT


def main(_) -> None:
  with cli.one_sentence():
    if not CONFIGS.is_dir() or not PAGE.parent.is_dir():
      raise ValueError(f'{CONFIGS} and {PAGE.parent} are not here: run this in the repository.')
    PAGE.write_text(page(), encoding='utf-8')
    readme = CONFIGS / 'README.md'
    text = replace(readme.read_text(encoding='utf-8'), 'differences', differences(CONFIGS))
    readme.write_text(text, encoding='utf-8')


if __name__ == '__main__':
  cli.run(main)
