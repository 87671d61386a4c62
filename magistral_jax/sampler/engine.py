"""Decode engine: prefill, insert, generate, verify and release over one donated state.

Axes: B slots, A slots whose drafts are verified, K decode steps of a dispatch, T prompt bucket,
L layers, k experts of a token.

The life of a sequence:
  1. prefill  writes the keys of all prompt tokens but the last into pages (once for a group).
  2. insert   puts it into a slot: length, next input (the last prompt token), randomness address.
              A page that is only partly prompt is copied, since the sequence will write into it.
  3. generate advances all slots by K tokens. Weights are an argument: another version needs no
              recompilation, and the pages keep what older weights wrote. While few slots are
              active, verify may do this instead: one step that also keeps drafts that hold.
  4. A slot that draws one of the end tokens or its last allowed token becomes inactive;
     release deactivates slots from outside.
steps.py has the computation of 3. The role keeps track of pages (slots.py) and passes the page
table with each call. Every function is compiled for one shape, prefill for one per bucket of tokens
and, for prompts with images, of patches.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import profiling, sharding
from magistral_jax.models import apart, attention, cache, decoder, kernels
from magistral_jax.models.config import ModelConfig
from magistral_jax.records import Image, RowImages
from magistral_jax.sampler.state import DecodeState, Insertions
from magistral_jax.sampler.steps import Steps, experts

# Tokens of the smallest bucket of patches; encoding fewer costs about the same.
SMALLEST_IMAGE = 64


@dataclasses.dataclass(frozen=True)
class Extras:
  """What an engine does otherwise than draw tokens with all it computes, if anything."""
  routes: bool = False      # Returns the experts that every token took, of a model that has any.
  alternatives: int = 0     # n; of so many of the likeliest tokens `generate` can tell.
  draft_tokens: int = 0     # Most tokens that are drafted for a slot before a step; 0 for none.
  draft_slots: int = 0      # A, the most active slots while drafts are verified.
  kv_dtype: str = 'model'   # How pages hold keys and values, a word of models.config.KV_DTYPES.


class Engine:
  """Compiled functions of one sampler on one mesh; stateless."""

  def __init__(self, config: ModelConfig, mesh, *, slots: int, pages: int, page_tokens: int,
               slot_pages: int, decode_steps: int, nucleus: bool, end_ids: Sequence[int],
               seed: int, extras: Extras = Extras()):
    """Raises ValueError if attention cannot read pages of `extras.kv_dtype` on this mesh."""
    self.config, self.mesh = config, mesh
    self._layout = sharding.Layout(mesh, sharding.SAMPLER)
    self.slots, self.pages, self.page_tokens = slots, pages, page_tokens
    self.slot_pages, self.decode_steps = slot_pages, decode_steps
    self.kv_dtype = extras.kv_dtype
    self.alternatives = min(extras.alternatives, config.vocab)
    self.draft_tokens, self.draft_slots = extras.draft_tokens, min(extras.draft_slots, slots)
    self._steps = Steps(config, self._layout, nucleus=nucleus, end_ids=tuple(end_ids), seed=seed,
                        routes=extras.routes, alternatives=self.alternatives)
    self._whole = sharding.named(mesh, sharding.SAMPLER, ())
    shapes = jax.eval_shape(self._pages)
    pool = lambda x: sharding.named(mesh, sharding.SAMPLER, shapes.axes[:x.ndim])
    state = self._shardings = DecodeState(
        **{f.name: self._whole for f in dataclasses.fields(DecodeState)}
        | dict(pages=jax.tree.map(pool, shapes)))
    jit = functools.partial(jax.jit, out_shardings=state)
    self._init, self._apart = jit(self._empty), jax.jit(apart.apart)
    self._prefill = jax.jit(self._write_prompt, donate_argnums=1,
                            out_shardings=(state, self._whole))
    self._insert = jit(self._open_slots, donate_argnums=0)
    self._release = jit(lambda s, off: dataclasses.replace(s, active=s.active & ~off),
                        donate_argnums=0)
    draws = functools.partial(jax.jit, donate_argnums=1, out_shardings=(state, self._whole))
    self._generate = draws(functools.partial(self._steps.decode, steps=decode_steps))
    self._verify = draws(self._steps.verify)

  def lay_out(self, params):
    """The parameters as this engine decodes fastest with them; a copy of the layers, or the same.
    """
    if self._layout.platform != 'cpu' or self.mesh.size > 1 or self.config.experts:
      return params
    return self._apart(params)

  def init_state(self) -> DecodeState:
    """State with empty pages and inactive slots."""
    return self._init()

  def bucket(self, tokens: int) -> int:
    """Length to which a prompt of `tokens` is padded: a power of two of pages."""
    return self.page_tokens << max(0, (-(-tokens // self.page_tokens) - 1).bit_length())

  @profiling.region
  def prefill(self, params, state, tokens: np.ndarray, page_ids,
              images: tuple[Image, ...] = ()):
    """Writes the keys and values of `tokens` [n] into pages `page_ids` (ceil(n / page_tokens)).

    Args:
      images: those among the tokens; their embeddings are computed once, here.
    Returns:
      The new state; the routes [T, L k] uint8 of the padded tokens on the device, None without.
    """
    size = self.bucket(len(tokens))
    padded = np.zeros((1, size), np.int32)
    padded[0, :len(tokens)] = tokens
    ids = np.zeros(size // self.page_tokens, np.int32)
    ids[:len(page_ids)] = page_ids
    arrays = self._put(padded, np.int32(len(tokens)), ids)
    if not images:
      return self._prefill(params, state, *arrays)
    return self._prefill(params, state, *arrays, *self._put(vars(self._row_images(images, size))))

  def _row_images(self, images, size: int) -> RowImages:
    """Images of a prompt in a bucket of patches, a power of two of tokens."""
    vision = self.config.vision
    tokens = max(SMALLEST_IMAGE, sum(len(image.tokens) for image in images))
    patches = vision.merge ** 2 << (tokens - 1).bit_length()
    row = RowImages.empty(1, size, patches, 3 * vision.patch ** 2)
    row.put(0, 0, images)
    return row

  @profiling.region
  def insert(self, state, new: Insertions) -> DecodeState:
    """Puts new sequences into slots; see Insertions."""
    return self._insert(state, self._put(*dataclasses.astuple(new)))

  @profiling.region
  def generate(self, params, state, table: np.ndarray, *, likeliest: bool = False):
    """Draws up to K tokens in every active slot.

    Args:
      table: [B, slot_pages] int32, pages of each slot in order.
      likeliest: whether the likeliest tokens are to be told, too; they are 0 otherwise.
    Returns:
      The new state, and on the device what `unpack` reads: [3 + 2 n, B, K] int32, tokens (-1 where
      none was drawn), the bits of their float32 log-probabilities, whether the slot is active after
      them, the n likeliest tokens and the bits of theirs; the routes [B, K, L k] uint8 of the
      tokens they were drawn after, None without.
    """
    return self._generate(params, state, *self._put(table, np.bool_(likeliest)))

  @profiling.region
  def verify(self, params, state, table: np.ndarray, slots: np.ndarray, drafts: np.ndarray, *,
             likeliest: bool = False):
    """Draws tokens in some slots, one more than drafts of theirs hold; no other slot draws.

    Args:
      table: [A, slot_pages] int32, pages of each of `slots` in order. Those of a slot have room for
        all its drafts that its limit allows.
      slots: [A] int32; B for none.
      drafts: [A, draft_tokens] int32, tokens that may follow; -1 for none, and then none follows.
      likeliest: as for `generate`.
    Returns:
      What `generate` returns, with 1 + draft_tokens in place of K.
    """
    return self._verify(params, state, *self._put(table, slots, drafts, np.bool_(likeliest)))

  def release(self, state, slots: np.ndarray) -> DecodeState:
    """Deactivates the slots of a mask [B] bool."""
    return self._release(state, *self._put(slots))

  def compilations(self) -> int:
    """Number of programs compiled so far; constant in steady state."""
    return sum(f._cache_size() for f in (self._prefill, self._insert, self._generate,
                                         self._verify))

  def lower_prefills(self, params, longest: int, longest_prompt: int):
    """Yields (tokens, patches, () -> the lowered prefill) of every bucket, for planning.

    For a model that reads images every bucket also comes with as many patches as a prompt can have.

    Args:
      params: tree of shapes with shardings.
      longest: tokens of the longest sequence.
      longest_prompt: tokens of the longest prompt with images.
    """
    state, vision = self.abstract_state(), self.config.vision
    size, most = self.page_tokens, 1 << (longest_prompt - 1).bit_length()
    while size <= self.bucket(longest):
      arrays = self._shapes(((1, size), np.int32), ((), np.int32),
                            ((size // self.page_tokens,), np.int32))
      yield size, 0, functools.partial(self._prefill.lower, params, state, *arrays)
      if vision and size >= SMALLEST_IMAGE:
        patches = vision.merge ** 2 * min(size, most)
        row = RowImages.empty(1, size, patches, 3 * vision.patch ** 2)
        images = {name: self._shapes((x.shape, x.dtype))[0] for name, x in vars(row).items()}
        yield size, patches, functools.partial(self._prefill.lower, params, state, *arrays, images)
      size *= 2

  def lower_steps(self, params) -> dict:
    """Lowered programs of the steps after a prefill, {name: () -> program}, for planning."""
    state = self.abstract_state()
    new = self._shapes(*((x.shape, x.dtype)
                           for x in dataclasses.astuple(Insertions.empty(self.slots))))
    table = lambda rows: ((rows, self.slot_pages), np.int32)
    lower = lambda step, *shapes: functools.partial(
        step.lower, params, state, *self._shapes(*shapes, ((), np.bool_)))
    found = dict(insert=lambda: self._insert.lower(state, tuple(new)),
                 generate=lower(self._generate, table(self.slots)))
    if self.draft_tokens:
      a, drafts = self.draft_slots, (self.draft_slots, self.draft_tokens)
      found['verify'] = lower(self._verify, table(a), ((a,), np.int32), (drafts, np.int32))
    return found

  def _shapes(self, *arrays):
    return [jax.ShapeDtypeStruct(shape, dtype, sharding=self._whole) for shape, dtype in arrays]

  def abstract_state(self) -> DecodeState:
    """State as shapes with shardings."""
    return jax.tree.map(
        lambda x, target: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=target),
        jax.eval_shape(self._empty), self._shardings)

  def _put(self, *arrays):
    return jax.device_put(arrays, self._whole)

  def _pages(self):
    joined = attention.takes_kernels(self._layout, self.config.head_dim,
                                     page_tokens=self.page_tokens)
    if joined:
      kernels.check_pages(self.kv_dtype,
                          self.config.kv_heads // self._layout.pieces('kv_heads'))
    return cache.empty_pages(self.config, self.pages, self.page_tokens, joined=joined,
                             kv_dtype=self.kv_dtype)

  def _empty(self):
    zeros = lambda dtype: jnp.zeros(self.slots, dtype)
    ints = {name: zeros(jnp.int32)
            for name in ('lengths', 'token', 'ordinal', 'sample', 'drawn', 'limit')}
    return DecodeState(pages=self._pages(),
                       active=zeros(bool), temperature=zeros(jnp.float32),
                       top_p=zeros(jnp.float32), **ints)

  def _write_prompt(self, params, state, tokens, length, page_ids, images=None):
    position = jnp.arange(tokens.shape[1])[None]
    real = position < length
    attend = attention.prefill(real.astype(jnp.int32), page_ids, self._layout)
    _, pages, routing = decoder.bind(self.config, params).routed(
        tokens, position, attend, state.pages, real=real, images=images, layout=self._layout)
    routes = experts(routing, self.config) if self._steps.routes else None
    return dataclasses.replace(state, pages=pages), None if routes is None else routes[0]

  def _open_slots(self, state, new):
    new = Insertions(*new)
    at = lambda old, values: old.at[new.slot].set(values, mode='drop')
    names = ('lengths', 'token', 'ordinal', 'sample', 'drawn', 'limit', 'temperature', 'top_p')
    return dataclasses.replace(
        state, pages=state.pages.copy_page(new.copy_from, new.copy_to),
        active=at(state.active, True),
        **{name: at(getattr(state, name), getattr(new, name)) for name in names})


@dataclasses.dataclass(frozen=True, eq=False)
class Dispatch:
  """What a dispatch drew, on the host."""
  tokens: np.ndarray        # [B, K] int32, -1 for none.
  logps: np.ndarray         # [B, K] float32.
  active: np.ndarray        # [B] bool, after them.
  routes: np.ndarray | None  # [B, K, L k] uint8.
  # [n, B, K], the likeliest tokens at the places of those drawn and their log-probabilities.
  likeliest: np.ndarray
  likeliest_logps: np.ndarray


@profiling.region
def unpack(out) -> Dispatch:
  """Brings what `generate` or `verify` returns to the host."""
  drawn, routes = jax.device_get(out)
  n = (len(drawn) - 3) // 2
  return Dispatch(drawn[0], drawn[1].view(np.float32), drawn[2, :, -1].astype(bool), routes,
                  drawn[3:3 + n], drawn[3 + n:].view(np.float32))
