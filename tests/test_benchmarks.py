"""What benchmarks print: the form that other tools read, for every one of them."""
import argparse
import json
import pathlib

import pytest
import shown
import workers

FOLDER = pathlib.Path(__file__).parent / 'benchmarks'
SCRIPTS = [path for path in sorted(FOLDER.glob('*.py'))
           if "if __name__ == '__main__':" in path.read_text() and path.stem != 'export']


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_prints_tables_or_json(path):
  text = path.read_text()
  assert 'shown.add_flag(' in text or 'workers.arguments(' in text
  assert 'shown.show(' in text and 'json.dumps(dict(' not in text


def test_ratios_are_numbers_above_one_where_ours_is_faster(capsys):
  replies = dict(ours=[dict(tokens=30, seconds=1.0, cpu_seconds=2.0), dict(
      tokens=30, seconds=2.0, cpu_seconds=2.0)], trl=[dict(
          tokens=10, seconds=1.0, cpu_seconds=3.0)] * 2)
  args = argparse.Namespace(checkpoint='folder/model.gguf', prompts=4)
  found = workers.report('end_to_end', args, ['prompts'], ['trl', 'tunix'],
                         dict(ours={}, trl={}), replies)
  shown.show(found, True)
  read = json.loads(capsys.readouterr().out)
  assert read['ratios'] == {'ours/trl': 2.25}
  assert read['ratios_of_repeats'] == {'ours/trl': [3.0, 1.5]}
  assert read['missing'] == ['tunix'] and read['checkpoint'] == 'model.gguf'
  shown.show(found, False)
  table = capsys.readouterr().out
  assert 'end_to_end' in table or 'end to end' in table
  assert 'ours/trl' in table and '2.25' in table
