"""Costs read from compiled programs, against values worked out by hand."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from magistral_jax import sharding
from magistral_jax.planning import cost, hlo

# As the TPU compiler writes a projection to 8 heads of 128: a product as a convolution whose
# window of 8 slides over a single position, so that 7 of 8 positions fall on padding.
PROJECTION = """HloModule jit_f
%fused (p0: bf16[64,5120], p1: bf16[8,5120,128]) -> bf16[64,8,128] {
  %p0 = bf16[64,5120,1]{2,1,0:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[8,128,5120]{2,1,0:T(8,128)(2,1)} parameter(1)
  ROOT %c = bf16[64,8,128]{2,0,1:T(8,128)(2,1)} convolution(%p0, %p1), WINDOW
}

ENTRY %main (a: bf16[64,5120,1], b: bf16[8,128,5120]) -> bf16[64,8,128] {
  %a = bf16[64,5120,1]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %b = bf16[8,128,5120]{2,1,0:T(8,128)(2,1)} parameter(1)
  ROOT %f = bf16[64,8,128]{2,0,1:T(8,128)(2,1)} fusion(%a, %b), kind=kOutput, calls=%fused
}
""".replace('WINDOW', 'window={size=8 pad=7_7 rhs_reversal=1}, dim_labels=bf0_0oi->b0f')
# A layer of stacked integers as a product reads it: in other tiles, sliced, converted.
INTEGERS = """HloModule jit_i
%tiles (p: s8[40,512,256]) -> s8[40,512,256] {
  %p.1 = s8[40,512,256]{2,1,0:T(32,128)(4,1)} parameter(0)
  ROOT %copy.1 = s8[40,512,256]{2,1,0:T(8,128)(4,1)} copy(%p.1)
}

%slice (p: s8[40,512,256], i: s32[]) -> s8[512,256] {
  %p.2 = s8[40,512,256]{2,1,0:T(32,128)(4,1)} parameter(0)
  %view = s8[40,512,256]{2,1,0:T(8,128)(4,1)} fusion(%p.2), kind=kLoop, ALIAS, calls=%tiles
  %i.2 = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %one = s8[1,512,256]{2,1,0:T(8,128)(4,1)} dynamic-slice(%view, %i.2, %zero, %zero)
  ROOT %flat = s8[512,256]{1,0:T(8,128)(4,1)} bitcast(%one)
}

%product (p: s8[40,512,256], i: s32[], x: bf16[64,512]) -> bf16[64,256] {
  %p.3 = s8[40,512,256]{2,1,0:T(32,128)(4,1)} parameter(0)
  %i.3 = s32[]{:T(128)} parameter(1)
  %w = s8[512,256]{1,0:T(8,128)(4,1)} fusion(%p.3, %i.3), kind=kLoop, calls=%slice
  %wide = bf16[512,256]{1,0:T(8,128)(2,1)} convert(%w)
  %x.3 = bf16[64,512]{1,0:T(8,128)(2,1)} parameter(2)
  ROOT %c = bf16[64,256]{1,0:T(8,128)(2,1)} convolution(%x.3, %wide), dim_labels=bf_io->bf
}

ENTRY %main (a: s8[40,512,256], i: s32[], x: bf16[64,512]) -> bf16[64,256] {
  %a = s8[40,512,256]{2,1,0:T(32,128)(4,1)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  %x = bf16[64,512]{1,0:T(8,128)(2,1)} parameter(2)
  ROOT %f = bf16[64,256]{1,0:T(8,128)(2,1)} fusion(%a, %i, %x), kind=kOutput, calls=%product
}
""".replace('ALIAS', 'output_to_operand_aliasing={{}: (0, {})}')
LOOP = """HloModule jit_g
%body (p: (s32[], f32[40,256])) -> (s32[], f32[40,256]) {
  %p = (s32[]{:T(128)}, f32[40,256]{1,0:T(8,128)}) parameter(0)
  %x = f32[40,256]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %r = f32[40,256]{1,0:T(8,128)} all-reduce(%x), channel_id=1, GROUPS, to_apply=%add
  ROOT %t = (s32[]{:T(128)}, f32[40,256]{1,0:T(8,128)}) tuple(%i, %r)
}

%cond (p: (s32[], f32[40,256])) -> pred[] {
  %five = s32[]{:T(128)} constant(5)
  %p = (s32[]{:T(128)}, f32[40,256]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %five), direction=LT
}

ENTRY %main (a: (s32[], f32[40,256])) -> (s32[], f32[40,256]) {
  %a = (s32[]{:T(128)}, /*index=1*/f32[40,256]{1,0:T(8,128)}) parameter(0)
  ROOT %w = (s32[]{:T(128)}, f32[40,256]{1,0:T(8,128)}) while(%a), condition=%cond, body=%body
}
"""


def compiled(f, *shapes, **options):
  return jax.jit(f, **options).lower(*shapes).compile().as_text()


def struct(*shape, sharding=None):
  return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)


def test_a_scan_counts_as_often_as_it_runs():
  def f(x, w):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]
  text = compiled(f, struct(8, 64), struct(5, 64, 64))
  once = 2 * 8 * 64 * 64
  assert cost.of_program(text, devices=1).flops == 5 * once
  assert cost.of_program(text, devices=1, loops=False).flops == once


def test_a_gradient_of_a_layer_costs_three_times_its_forward_pass():
  def f(x, w):
    return jnp.sum(jnp.tanh(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]))
  text = compiled(jax.grad(f, argnums=(0, 1)), struct(16, 64), struct(3, 64, 64))
  assert cost.of_program(text, devices=1).flops == 3 * 3 * 2 * 16 * 64 * 64


def test_a_window_over_padding_costs_what_the_product_costs():
  found = cost.of_program(PROJECTION, devices=1)
  assert found.flops == 2 * 64 * 5120 * 8 * 128
  # The activations lie on the chip; the weights are read and the result written.
  assert found.bytes == 2 * (8 * 128 * 5120 + 64 * 8 * 128)


@pytest.mark.parametrize('groups, devices', [
    ("replica_groups=mesh['axis_0'=4,'axis_1'=16] {'axis_0'}", 4),
    ("replica_groups=mesh['axis_0'=4,'axis_1'=16] {'axis_0','axis_1'}", 64),
    ('replica_groups=[8,8]<=[64]', 8), ('replica_groups={{0,1},{2,3}}', 2),
    ('replica_groups={}', 64)])
def test_collectives_count_in_loops_and_by_their_groups(groups, devices):
  found = cost.of_program(LOOP.replace('GROUPS', groups), devices=64)
  size = 40 * 256 * 4
  assert list(found.collectives) == ['all-reduce']
  count, sent = found.collectives['all-reduce']
  assert count == 5
  np.testing.assert_allclose(sent, 5 * 2 * size * (devices - 1) / devices)
  # The body reads and writes the array on its way.
  assert found.bytes == 5 * 2 * size and not found.unknown


@pytest.mark.parametrize('counted', [
    '  %n = s32[]{:T(128)} add(%i, %two)\n',
    '  %n = s32[]{:T(128)} fusion(%i), kind=kLoop, calls=%more\n'])
def test_a_loop_that_was_unrolled_runs_half_as_often(counted):
  """Its counter goes 0 2 4: as the compiler writes products whose weights travel around a ring."""
  text = LOOP.replace('GROUPS', 'replica_groups={}').replace('tuple(%i, %r)', 'tuple(%n, %r)')
  text = text.replace('  %r = ', '  %two = s32[]{:T(128)} constant(2)\n' + counted + '  %r = ')
  text = text.replace('%body (p', '%more (q: s32[]) -> s32[] {\n'
                      '  %q = s32[]{:T(128)} parameter(0)\n  %by = s32[]{:T(128)} constant(2)\n'
                      '  ROOT %sum = s32[]{:T(128)} add(%q, %by)\n}\n\n%body (p')
  assert cost.of_program(text, devices=2).collectives['all-reduce'][0] == 3


def test_a_loop_without_a_bound_is_reported():
  text = LOOP.replace('constant(5)', 'add(%p, %p)')
  found = cost.of_program(text.replace('GROUPS', 'replica_groups={}'), devices=2)
  assert found.collectives['all-reduce'][0] == 1
  assert found.unknown == ['loop w is counted once: how often it runs is not in the program']


def test_a_sharded_product_sends_what_a_ring_sends():
  mesh = sharding.make_mesh(jax.devices()[:4], fsdp=4)
  cut = lambda *spec: NamedSharding(mesh, P(*spec))
  text = compiled(lambda x, w: x @ w, struct(64, 128, sharding=cut(None, 'fsdp')),
                  struct(128, 32, sharding=cut('fsdp')), out_shardings=cut())
  found = cost.of_program(text, devices=4)
  assert found.flops == 2 * 64 * 32 * 32
  assert found.collectives == {'all-reduce': [1, 2 * 64 * 32 * 4 * 3 / 4]}


def test_slices_and_updates_move_only_their_part():
  def f(pool, new, i):
    pool = jax.lax.dynamic_update_index_in_dim(pool, new, i, 0)
    return pool, jax.lax.dynamic_index_in_dim(pool, i + 1, 0) * 2
  text = compiled(f, struct(1000, 64), struct(64), jax.ShapeDtypeStruct((), jnp.int32),
                  donate_argnums=0)
  moved = cost.of_program(text, devices=1).bytes
  assert 64 * 4 * 2 <= moved < 64 * 4 * 12   # Some rows of a thousand.


def test_a_layer_of_integers_is_read_out_of_its_stack_alone():
  found = cost.of_program(INTEGERS, devices=1)
  assert found.flops == 2 * 64 * 512 * 256
  # One layer in single bytes, an index, activations and the result in two.
  assert found.bytes == 512 * 256 + 4 + 2 * 64 * 512 + 2 * 64 * 256


def test_attention_kernels_are_counted_by_the_pairs_of_tokens_that_meet():
  call = ('ENTRY %main () -> bf16[8,4,1024,128] {{\n'
          '  %n = s32[] parameter(0)\n'
          '  %list = s32[35] parameter(1)\n'
          '  %q = bf16[8,4,1024,128]{{3,2,1,0}} parameter(2)\n'
          '  %k = bf16[8,4096,128]{{2,1,0}} parameter(3)\n'
          '  %lse = f32[8,4,1024]{{2,1,0}} parameter(4)\n'
          '  ROOT %{}.1 = bf16[8,4,1024,128]{{3,2,1,0}} custom-call(%n, %list, %q, %k, %k, %lse), '
          'custom_call_target="tpu_custom_call"\n}}\n')
  load = cost.Load(met_queries=100.0)
  product = 2 * 8 * 4 * 4096 * 100 * 128
  for name, products in (('packed_softmax', 2), ('packed_query_gradient', 3),
                         ('packed_key_gradients', 4)):
    assert cost.of_program(call.format(name), devices=1, load=load).flops == products * product
  strange = cost.of_program(call.format('strange'), devices=1)
  assert strange.flops == 0 and strange.unknown == ['kernel strange (FLOPs)']


@pytest.mark.parametrize('routed', [1.0, 0.25])
def test_grouped_products_cost_the_rows_that_experts_are_given(routed):
  """The buffer has room for all rows; those of other devices' experts are skipped."""
  call = ('ENTRY %main () -> {0} {{\n'
          '  %x = bf16[512,256]{{1,0}} parameter(0)\n'
          '  %w = {1} parameter(1)\n'
          '  ROOT %{2}.1 = {0} custom-call(%x, %w), custom_call_target="tpu_custom_call"\n}}\n')
  product, load = 2 * 512 * 256 * 1024, cost.Load(expert_rows=512 * routed, experts=4)
  rows, matrices = 2 * 512 * (256 + 1024), 2 * 4 * 256 * 1024
  texts = (call.format('bf16[512,1024]{1,0}', 'bf16[4,256,1024]{2,1,0}', 'gmm'),
           call.replace('[512,256]', '[256,512]').format(
               'bf16[4,256,1024]{2,1,0}', 'bf16[512,1024]{1,0}', 'tgmm'))
  for text in texts:
    found = cost.of_program(text, devices=1, load=load)
    assert found.flops == routed * product and found.bytes == routed * rows + matrices
  # The same four experts, read out of the stack of three layers.
  stack = cost.of_program(texts[0].replace('[4,256', '[12,256'), devices=1, load=load)
  assert stack.bytes == routed * rows + matrices


def test_what_only_an_uneven_routing_takes_is_no_cost():
  """The rows of the experts decide between two programs, of which one is there in case."""
  def choose(x, w):
    crowded = jax.named_scope('crowded')(lambda x, w: jnp.tanh(x @ w) @ w)
    return jax.lax.cond(jnp.sum(x) < 3, lambda x, w: x[:8] @ w, lambda x, w: crowded(x, w)[:8],
                        x, w)
  x, w = jnp.ones((64, 32)), jnp.ones((32, 32))
  text = jax.jit(choose).lower(x, w).compile().as_text()
  assert cost.of_program(text, devices=1).flops == 2 * 8 * 32 * 32


def test_shapes_of_tuples_and_memories():
  found = hlo.arrays('(bf16[3,4]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/pred[], f32[2]{0})')
  assert [(a.dtype, a.dims, a.space, a.bytes) for a in found] == [
      ('bf16', (3, 4), 1, 24), ('pred', (), 0, 1), ('f32', (2,), 0, 8)]
