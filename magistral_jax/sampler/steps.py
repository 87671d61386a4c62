"""What a dispatch computes: steps that draw a token in every slot, or more where drafts hold.

Axes: B slots, A slots whose drafts are verified, K steps, T tokens of a step, L layers, k experts
of a token.

A step reads T tokens of a slot, its next input and T - 1 that were drafted, and draws a token after
each of them with the randomness of its own position. It keeps them up to the first that is not the
one drafted:

    read     a   x1  x2  x3        x1 x2 x3 were drafted, from n-grams of the group (drafts.py)
    drawn    x1  x2  y   z         from the distributions after a, a x1, a x1 x2, ...
    kept     x1  x2  y             z was drawn after x3, and y is there instead

These are the tokens that steps of one token each would draw, so drafts change neither tokens nor
distribution, only how often the weights are read. Keys and values of drafts that do not hold stay
in the pages beyond the slot's length, where nothing reads them and the next step writes.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax.models import attention, decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.sampler import sampling
from magistral_jax.sampler.state import DecodeState
from magistral_jax.sharding import Layout


def experts(routing, config: ModelConfig):
  """Experts [..., L k] uint8 for the logits of routers; None stays None."""
  return None if routing is None else decoder.chosen(routing, config.experts_per_token)


@dataclasses.dataclass(frozen=True)
class Steps:
  """The steps of one engine; arguments as those of `Engine`."""
  config: ModelConfig
  layout: Layout
  nucleus: bool
  end_ids: tuple[int, ...]
  seed: int
  routes: bool
  alternatives: int

  def decode(self, params, state: DecodeState, table, likeliest, *, steps: int):
    """K steps of one token; arguments and results as those of `Engine.generate`."""
    none = jnp.zeros((len(table), 0), jnp.int32)

    def step(state, _):
      state, found, routes = self.step(params, state, table, none, likeliest)
      return state, (found[..., 0], None if routes is None else routes[:, 0])

    state, (found, routes) = jax.lax.scan(step, state, None, length=steps)
    return state, (jnp.moveaxis(found, 0, 2),
                   None if routes is None else jnp.moveaxis(routes, 0, 1))

  def verify(self, params, state: DecodeState, table, slots, drafts, likeliest):
    """One step of the slots [A] alone; arguments and results as those of `Engine.verify`."""
    names = [f.name for f in dataclasses.fields(DecodeState) if f.name != 'pages']
    own = {name: getattr(state, name).at[slots].get(mode='fill', fill_value=0) for name in names}
    new, found, routes = self.step(
        params, DecodeState(pages=state.pages, **own), table, drafts, likeliest)
    back = lambda old, values: old.at[slots].set(values, mode='drop')
    state = DecodeState(pages=new.pages, **{
        name: back(getattr(state, name), getattr(new, name)) for name in names})
    b, t = len(state.active), found.shape[2]
    nothing = jnp.full((len(found), b, t), -1, jnp.int32)
    if routes is not None:
      routes = back(jnp.zeros((b, *routes.shape[1:]), routes.dtype), routes)
    return state, (nothing.at[:, slots].set(found, mode='drop'), routes)

  def step(self, params, state: DecodeState, table, drafts, likeliest):
    """One step.

    Args:
      table: [B, pages of a slot].
      drafts: [B, T - 1] int32; -1 where there is none, and then none follows.
      likeliest: [] bool, whether the likeliest tokens are to be told, too.
    Returns:
      The new state; what `Engine.generate` returns, [3 + 2 n, B, T]; routes [B, T, L k] or None.
    """
    on, (b, t) = state.active, (len(drafts), drafts.shape[1] + 1)
    read = jnp.concatenate([state.token[:, None], drafts], axis=1)
    positions = state.lengths[:, None] + jnp.arange(t)
    hidden, pages, routing = decoder.bind(self.config, params).routed(
        jnp.maximum(read, 0), positions,
        attention.decode(table, state.lengths, on, self.layout), state.pages,
        real=on[:, None] & (read >= 0), layout=self.layout)
    token, logp, others = self._draw(params, state, hidden, likeliest)
    drawn = state.drawn[:, None] + jnp.arange(1, t + 1)
    last = (token[..., None] == np.array(self.end_ids, np.int32)).any(-1)
    last |= drawn >= state.limit[:, None]
    holds = (token[:, :-1] == drafts) & ~last[:, :-1]
    kept = on[:, None] & jnp.pad(jnp.cumprod(holds, axis=1) > 0, ((0, 0), (1, 0)),
                                 constant_values=True)
    n = kept.sum(1, dtype=jnp.int32)
    at = lambda x: jnp.take_along_axis(x, jnp.maximum(n - 1, 0)[:, None], axis=1)[:, 0]
    new = dataclasses.replace(
        state, pages=pages, lengths=state.lengths + n, drawn=state.drawn + n,
        active=on & ~at(last), token=jnp.where(on, at(token), state.token))
    bits = jax.lax.bitcast_convert_type(logp, jnp.int32)
    active = jnp.broadcast_to(new.active[:, None], (b, t)).astype(jnp.int32)
    found = jnp.concatenate([jnp.stack([jnp.where(kept, token, -1), bits, active]), others])
    return new, found, experts(routing, self.config) if self.routes else None

  def _draw(self, params, state: DecodeState, hidden, likeliest):
    """Tokens and log-probabilities [B, T] after hidden states [B, T, D], and the likeliest ones."""
    b, t = hidden.shape[:2]
    each = lambda x: jnp.repeat(x, t)
    positions = (state.drawn[:, None] + jnp.arange(t)).ravel()
    keys = sampling.keys(self.seed, each(state.ordinal), each(state.sample), positions)
    logits = decoder.logits(params, hidden.reshape(b * t, -1))
    # An idle slot may not ask for what costs a pass over the vocabulary.
    top_p = each(jnp.where(state.active, state.top_p, 1.0))
    temperature = each(jnp.where(state.active, state.temperature, 1.0))
    token, logp = sampling.draw(logits, keys, temperature, top_p, nucleus=self.nucleus)
    others = self._likeliest(likeliest, logits, temperature, top_p)
    return token.reshape(b, t), logp.reshape(b, t), others.reshape(-1, b, t)

  def _likeliest(self, wanted, logits, temperature, top_p):
    """The likeliest tokens of every rank and the bits of their log-probabilities, [2 n, B T]."""
    n = self.alternatives
    nothing = lambda: jnp.zeros((2 * n, len(logits)), jnp.int32)
    if not n:
      return nothing()
    def found():
      ids, logps = sampling.likeliest(logits, temperature, top_p, count=n, nucleus=self.nucleus)
      return jnp.concatenate([ids, jax.lax.bitcast_convert_type(logps, jnp.int32)], axis=1).T
    # A pass over the vocabulary more, in dispatches of which somebody asks for it.
    return jax.lax.cond(wanted, found, nothing)
