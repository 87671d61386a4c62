"""The floor of sampling and training on a CPU: the products of a model, and nothing else."""

import json
import pathlib


def products(folder: str, rows: int, head_rows: int | None = None):
  """Makes a call that multiplies so many rows with every matrix of a dense model, layer by layer.

  Each layer has arrays of its own, so that no product waits for a copy.

  Args:
    folder: Hugging Face's, of which only config.json is read.
    head_rows: rows that pass the head; None for all.
  Returns:
    A dict with GFLOP of a call, and the call, which returns when it is done.
  """
  import jax
  import jax.numpy as jnp

  f = json.loads((pathlib.Path(folder) / 'config.json').read_text())
  width, ffn, size = f['hidden_size'], f['intermediate_size'], f['head_dim']
  queries, keys = size * f['num_attention_heads'], size * f['num_key_value_heads']
  shapes = [(width, queries + 2 * keys), (queries, width), (width, 2 * ffn), (ffn, width)]
  # Every number stays near 1: the smallest ones would take longer.
  layers = [[jnp.full(shape, 1 / shape[0]) for shape in shapes]
            for _ in range(f['num_hidden_layers'])]
  head = jnp.full((f['vocab_size'], width), 1 / width)
  head_rows = rows if head_rows is None else head_rows

  @jax.jit
  def run(x, layers, head):
    for qkv, o, gate_up, w2 in layers:
      # All columns are used, or they could be left out.
      x = x @ qkv
      x = (x[:, :queries] + x[:, -queries:]) / 2 @ o
      x = x @ gate_up
      x = x[:, :ffn] * x[:, ffn:] @ w2
    # The maximum keeps the logits from being left out.
    return jnp.max(jnp.einsum('nd,vd->nv', x[:head_rows], head), axis=1)

  x = jnp.ones((rows, width))
  call = lambda: run(x, layers, head).block_until_ready()
  call()
  numbers = f['num_hidden_layers'] * sum(a * b for a, b in shapes)
  flops = 2 * (rows * numbers + head_rows * f['vocab_size'] * width)
  return dict(version=f'jax {jax.__version__}', gflop_of_a_call=round(flops / 1e9, 2)), call
