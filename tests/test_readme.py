"""The README speaks of what is there: every file of the tree, and no key that does not exist."""
import re
from pathlib import Path

from magistral_jax.__main__ import COMMANDS
from magistral_jax.experiment import schema
from magistral_jax.orchestration import report

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / 'README.md').read_text('utf-8')


def test_every_file_of_the_package_has_its_place_in_the_tree():
  files = [path for folder in ('magistral_jax', 'configs', 'launch')
           for path in (ROOT / folder).rglob('*') if path.suffix in ('.py', '.sh')]
  missing = [path.name for path in files if path.name not in TEXT and '__' not in path.name]
  assert missing == []


def test_keys_and_links_exist():
  keys = set(schema.KEYS)
  sections = {section.name for section in schema.SECTIONS}
  named = re.findall(r'(?:`|--config\.)([a-z_]+(?:\.[a-z_]+)+)(?=[`=])', TEXT)
  unknown = [name for name in named
             if name.split('.')[0] in sections and name not in keys | sections]
  assert unknown == [] and len(named) > 15
  for link in re.findall(r'\]\((?!http)([^)#]+)\)', TEXT):
    assert (ROOT / link).exists(), link


def test_commands_and_summary_keys_are_told():
  for name in COMMANDS:
    assert f'magistral_jax.{name}' in TEXT, name
  assert [key for key in report.SUMMARY_KEYS if f'`{key}`' not in TEXT] == []
