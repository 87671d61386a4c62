"""The generated pages are up to date, and say what the schema and the configs say."""
import pytest

from magistral_jax.experiment import reference, schema
from tests import tiny

ROOT = tiny.CONFIGS.parent
COMMAND = 'python -m magistral_jax.experiment.reference'


def test_the_config_reference_is_up_to_date():
  assert (ROOT / reference.PAGE).read_text('utf-8') == reference.page(), COMMAND


def test_the_table_of_differences_is_up_to_date():
  text = (tiny.CONFIGS / 'README.md').read_text('utf-8')
  wanted = reference.replace(text, 'differences', reference.differences(tiny.CONFIGS))
  assert text == wanted, COMMAND


def test_every_key_stands_once_in_the_reference_with_its_limit_meaning_and_condition():
  lines = reference.page().splitlines()
  for section in schema.SECTIONS:
    for key, described in section.names().items():
      line, = [line for line in lines if line.startswith(f'| `{key}` |')]
      assert described.meaning.replace('|', '\\|') in line and described.limit.words in line
      assert (f'`{described.start!r}`' in line) == (section.when is not None)
      heading = [line for line in lines[:lines.index(line)] if line.startswith('#')][-1]
      assert heading.startswith('### ' if section.when else '## ')


def test_only_what_differs_from_the_quickstart_is_in_the_table(tmp_path):
  def write(name, seed, **data):
    (tmp_path / f'{name}.py').write_text(
        f'"""Does {name} learn?\n\nMore."""\nimport ml_collections as mlc\n\n\n'
        f'def get_config():\n  return mlc.ConfigDict(dict(seed={seed}, data={data!r}))\n')
  write('quickstart', 0, source='arithmetic', template='plain', arithmetic=dict(min_terms=2))
  write('other', 1, source='jsonl', template='plain', jsonl=dict(path='a|b'))
  write('same', 0, source='arithmetic', template='plain', arithmetic=dict(min_terms=2))
  lines = reference.differences(tmp_path).splitlines()
  assert '| `other` | 4 | Does other learn? |' in lines
  assert any('1 are in every config' in line for line in lines)      # The template.
  assert lines[lines.index('') + 3:] == [
      '| key | `quickstart` | `other` | `same` |', '| --- | --- | --- | --- |',
      '| `seed` | `0` | `1` |  |', "| `data.source` | `'arithmetic'` | `'jsonl'` |  |",
      '| `data.arithmetic.min_terms` | `2` | – |  |', "| `data.jsonl.path` | – | `'a\\|b'` |  |"]


def test_a_table_replaces_what_stands_between_its_marks():
  page = 'before\n<!-- t: begin -->\nold\n<!-- t: end -->\nafter\n'
  assert reference.replace(page, 't', 'new') == page.replace('old', 'new')
  with pytest.raises(ValueError, match='<!-- t: begin -->'):
    reference.replace('before', 't', 'new')
