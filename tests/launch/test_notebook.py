"""The notebook is whole: its code cells are Python, and it is committed without outputs."""
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = json.loads((ROOT / 'launch/colab_smoke.ipynb').read_text('utf-8'))


def test_code_cells_are_python():
  cells = [''.join(c['source']) for c in NOTEBOOK['cells'] if c['cell_type'] == 'code']
  assert len(cells) == 4
  for cell in cells:
    compile(cell, 'colab_smoke.ipynb', 'exec')


def test_it_is_committed_without_outputs():
  assert all(not cell.get('outputs') and not cell.get('execution_count')
             for cell in NOTEBOOK['cells'])
