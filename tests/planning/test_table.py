"""Plans joined into the table of configs/README.md: worked by hand on small figures."""
import json

import pytest

from magistral_jax.planning import table

GIB = 2**30


def plan(*, fits=True):
  """What plan --json prints, as far as the table reads it."""
  program = dict(least_seconds=2.0, limit='compute', mfu=0.5, flops_over_model=1.25, collectives={
      'all-gather': dict(count=3, bytes=4e9), 'all-reduce': dict(count=1, bytes=1e6)})
  trainer = dict(
      topology='v5p:4x4x4', mesh=dict(fsdp=16, expert=1, sequence=4, tensor=1), fits=fits,
      left=0.25, programs=[program], microbatch_rows=16, row_tokens=45056, microbatches=128,
      update_seconds=257.0, memory={
          'parameters': GIB, 'optimizer': 2 * GIB, 'gradients': GIB,
          'weights lent to samplers': GIB // 2, 'activations (gradient)': GIB})
  prefill = lambda tokens, seconds: dict(
      name=f'prefill {tokens}', least_seconds=seconds, limit='compute')
  sampler = dict(
      topology='v5p:2x2x1', mesh=dict(expert=1, tensor=4), fits=True, left=0.5, slots=128,
      decode_steps=16, sequences_full_length=29, full_length_tokens=45056, memory={
          'parameters': 11 * GIB, 'parameters of the next version': 11 * GIB, 'KV pages': 50 * GIB,
          'temporaries (prefill 256)': GIB // 2}, programs=[
              prefill(128, 0.5), prefill(256, 1.5),
              dict(name='generate', least_seconds=0.4, limit='hbm')])
  return dict(date='2026-11-22', jax='0.10.2', libtpu='0.0.42', trainer=trainer, sampler=sampler)


def test_the_table_says_what_the_plans_say():
  rows = [line for line in table.render(dict(small=plan())).splitlines() if '`small`' in line]
  assert [cell.strip() for cell in rows[0].strip('|').split('|')] == [
      '`small`', 'v5p:4x4x4: fsdp 16, sequence 4', '1.0', '2.0', '1.0', '0.5', '1.0 (gradient)',
      '25%', '16 x 45,056', '2.00', 'compute', '50%', '1.25', 'all-gather 4',
      '257 (128 microbatches)']
  # A dispatch of 16 steps takes 0.4 s.
  assert [cell.strip() for cell in rows[1].strip('|').split('|')] == [
      '`small`', 'v5p:2x2x1: tensor 4', '22.0', '0.0', '50.0', '0.5 (prefill 256)', '50%',
      '29 of 45,056, 128 slots', '1.50 (256)', '25.0', 'hbm']
  assert 'jax 0.10.2 and libtpu 0.0.42 on 2026-11-22' in table.render(dict(small=plan()))
  assert 'DOES NOT FIT' in table.render(dict(small=plan(fits=False)))


def test_existing_plans_are_not_made_again(tmp_path):
  (tmp_path / 'small.json').write_text(json.dumps(plan()))
  page = tmp_path / 'README.md'
  page.write_text('before\n<!-- plans: begin -->\nold\n<!-- plans: end -->\nafter\n')
  arguments = table.parse(['', f'--plans={tmp_path}', f'--into={page}', 'configs/small.py'])
  table.main(arguments)
  text = page.read_text()
  assert text.startswith('before\n') and text.endswith('\nafter\n') and 'old' not in text
  assert text.count('`small`') == 2
  table.main(arguments)
  assert page.read_text() == text


def test_a_page_without_marks_is_reported_before_any_plan_is_made(tmp_path, capsys):
  page = tmp_path / 'README.md'
  page.write_text('no marks')
  with pytest.raises(SystemExit):
    table.main(table.parse(['', f'--plans={tmp_path}', f'--into={page}', 'configs/none.py']))
  assert '<!-- plans: begin -->' in capsys.readouterr().err
