"""Tiny decoder for the real engine, and a fake engine that draws from what its pages hold."""
import dataclasses
import functools
import types
import zlib

import jax
import numpy as np
import pytest

from magistral_jax import records, sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.sampler import engine as engines
from magistral_jax.sampler import role, slots

CONFIG = ModelConfig(family='mistral', layers=2, dim=32, heads=4, kv_heads=2, head_dim=8,
                     ffn_dim=48, vocab=24, rope_theta=1e4, norm_eps=1e-5, tied=False,
                     dtype='float32')
EOS = 2
PREDICTABLE = 1000
# The longest sequence of these tests, prompt and completion.
LONGEST = 48
ENGINE = dict(slots=4, pages=0, page_tokens=4, decode_steps=4, nucleus=False, end_ids=(EOS,),
              seed=0)


@functools.cache
def mesh(*devices):
  """Sampler mesh over the devices of these numbers, or over the first one if none is given."""
  chosen = [jax.devices()[i] for i in devices or (0,)]
  return sharding.make_mesh(chosen, tensor=len(chosen))


@functools.cache
def weights(seed, devices):
  """Weights drawn by numpy with the spread of the decoder's own, so that no seed compiles."""
  rng, axes = np.random.default_rng(seed), decoder.definition(CONFIG)[1]
  drawn = jax.tree.map(lambda x: x.mean() + x.std() * rng.normal(size=x.shape).astype(np.float32),
                       initial_weights())
  return jax.device_put(drawn, sharding.tree_named(mesh(*devices), sharding.SAMPLER, axes))


@functools.cache
def initial_weights():
  return jax.device_get(jax.jit(lambda: decoder.init(CONFIG, seed=0))())


def snapshot(version, seed=None, devices=(0,)):
  """Snapshot of seeded weights, another draw for each version unless `seed` is given."""
  return records.WeightSnapshot(version, weights(version if seed is None else seed, devices))


@functools.cache
def engine(*, devices=(0,), **changed):
  """Engine with these values, compiled once for all tests; it is stateless."""
  values = ENGINE | changed
  slot_pages = -(-LONGEST // values['page_tokens'])
  extras = {f.name: values.pop(f.name) for f in dataclasses.fields(engines.Extras)
            if f.name in values}
  values['pages'] = values['pages'] or (values['slots'] + 2) * slot_pages + 1
  return engines.Engine(CONFIG, mesh(*devices), slot_pages=slot_pages,
                        extras=engines.Extras(**extras), **values)


def sampler(version=0, *, on=None, start=None, **changed):
  """Sampler on the engine `on`, or on one with these values."""
  return role.EngineSampler(on or engine(**changed), start or snapshot(version),
                            decode=lambda ids: ' '.join(map(str, ids)),
                            end_ids=changed.get('end_ids', (EOS,)))


def prompt(ordinal, length=None):
  """Prompt whose length and tokens follow from its ordinal."""
  rng = np.random.default_rng(abs(ordinal) * 2 + (ordinal < 0))
  length = length or int(rng.integers(1, 14))
  return records.Prompt(ordinal, records.Problem(str(ordinal), '', '', ''),
                        rng.integers(3, CONFIG.vocab, length, dtype=np.int32))


def how(samples=2, temperature=1.0, top_p=1.0, max_new_tokens=20):
  return slots.Sampling(samples, temperature, top_p, max_new_tokens)


def finish(sampler, most=10_000):
  """Steps until nothing is open; returns {(ordinal, sample): completion}."""
  done = []
  for _ in range(most):
    if not sampler.open:
      break
    done += sampler.step()
  assert not sampler.open, f'{sampler.open} sequences are open after {most} dispatches.'
  assert len({(c.ordinal, c.sample) for c in done}) == len(done)
  return {(c.ordinal, c.sample): c for c in done}


def run(sampler, prompts, sampling):
  for each in prompts:
    sampler.submit(each, sampling)
  return finish(sampler)


def assert_all_returned(sampler, engine):
  """Asserts that every page and slot is free again and no prompt is kept."""
  assert len(sampler._pool) == engine.pages - 1
  assert not sampler._pool._holders.any()
  assert sorted(sampler._free) == list(range(engine.slots))
  assert not sampler._prompts and not sampler.open and not sampler.pinned


def assert_same(actual, expected, atol=1e-5):
  """Asserts equal completions: tokens exactly, log-probabilities up to rounding."""
  assert actual.keys() == expected.keys()
  for key, completion in expected.items():
    np.testing.assert_array_equal(actual[key].tokens, completion.tokens, err_msg=str(key))
    np.testing.assert_allclose(actual[key].sampler_logp, completion.sampler_logp, atol=atol,
                               rtol=0, err_msg=str(key))
    assert (actual[key].finish, actual[key].text) == (completion.finish, completion.text)


@jax.jit
def _row_logps(params, tokens, segments):
  positions = np.arange(LONGEST)[None]
  hidden = decoder.forward_rows(CONFIG, params, tokens, positions, segments)
  return jax.nn.log_softmax(decoder.logits(params, hidden))[0]


def full_logps(params, tokens):
  """Log-probabilities [n, V] by the trainer's forward pass; row t predicts token t + 1."""
  n = len(tokens)
  row = np.pad(tokens, (0, LONGEST - n))[None]
  return np.array(_row_logps(params, row, (np.arange(LONGEST) < n).astype(np.int32)[None])[:n])


def completion_logps(params, prompt, completion):
  """Log-probabilities [n, V] that the completion was drawn from, by the full forward pass."""
  everything = np.concatenate([prompt.tokens, completion.tokens])
  return full_logps(params, everything)[len(prompt.tokens) - 1:-1]


class FakeEngine:
  """Fake of the engine over pages of plain tokens.

  The next token is a hash of what is read through the page table, so one page returned too early,
  shared wrongly or not filled changes the completion. The weights are just their version.
  """
  alternatives = 0

  def __init__(self, *, slots, pages, page_tokens, slot_pages, decode_steps, draft_tokens=0,
               draft_slots=0):
    self.draft_tokens, self.draft_slots = draft_tokens, draft_slots
    self.slots, self.pages, self.page_tokens = slots, pages, page_tokens
    self.slot_pages, self.decode_steps = slot_pages, decode_steps

  def lay_out(self, version):
    return version

  def init_state(self):
    shape = (self.pages, self.page_tokens)
    return types.SimpleNamespace(tokens=np.full(shape, -1), writers=np.full(shape, -1),
                                 active=np.zeros(self.slots, bool), held=[None] * self.slots)

  def prefill(self, version, state, tokens, page_ids, images):
    assert not images
    assert len(page_ids) == -(-len(tokens) // self.page_tokens) and 0 not in page_ids
    padding = np.full(len(page_ids) * self.page_tokens - len(tokens), -1)
    state.tokens[page_ids] = np.concatenate([tokens, padding]).reshape(-1, self.page_tokens)
    state.writers[page_ids] = version
    return state, None

  def insert(self, state, new):
    for pool in (state.tokens, state.writers):
      pool[new.copy_to] = pool[new.copy_from]
    for row in np.flatnonzero(new.slot < self.slots):
      slot = new.slot[row]
      assert not state.active[slot]
      state.active[slot] = True
      state.held[slot] = types.SimpleNamespace(
          **{name: int(getattr(new, name)[row])
             for name in ('lengths', 'token', 'ordinal', 'sample', 'drawn', 'limit')})
    return state

  def release(self, state, slots):
    state.active &= ~slots
    return state

  def generate(self, version, state, table, *, likeliest=False):
    self._check_tables(state, table)
    out = np.full((3 + 2 * self.alternatives, self.slots, self.decode_steps), -1, np.int32)
    for k in range(self.decode_steps):
      for slot in np.flatnonzero(state.active):
        self._draw(version, state, slot, table[slot], out[:, slot, k], likeliest)
      out[2, :, k] = state.active
    return state, (out, None)

  def verify(self, version, state, table, slots, drafts, *, likeliest=False):
    """Draws on while what it drew is what was drafted; the drafts beyond leave junk in pages."""
    assert set(np.flatnonzero(state.active)) == {slot for slot in slots if slot < self.slots}
    by_slot = np.zeros((self.slots, self.slot_pages), np.int32)
    for slot, row in zip(slots, table, strict=True):
      if slot < self.slots:
        by_slot[slot] = row
    self._check_tables(state, by_slot)
    out = np.full((3 + 2 * self.alternatives, self.slots, 1 + drafts.shape[1]), -1, np.int32)
    for slot, draft in zip(slots, drafts, strict=True):
      if slot >= self.slots:
        continue
      held = state.held[slot]
      known = draft >= 0
      assert not (known[1:] & ~known[:-1]).any() and known.sum() < held.limit - held.drawn
      for place in range(held.lengths + 1, held.lengths + 1 + known.sum()):
        page, offset = divmod(place, self.page_tokens)
        assert by_slot[slot, page], 'A draft is written to a page that its slot does not own.'
        state.tokens[by_slot[slot, page], offset] = -7
      for k, token in enumerate([*draft, -1]):
        self._draw(version, state, slot, by_slot[slot], out[:, slot, k], likeliest)
        if held.token != token or not state.active[slot]:
          break
      out[2, slot] = state.active[slot]
    return state, (out, None)

  def _draw(self, version, state, slot, pages, out, likeliest):
    """Draws one token in a slot; out: [3 + 2 n], what is told of it."""
    held = state.held[slot]
    page, offset = divmod(held.lengths, self.page_tokens)
    assert pages[page], 'A running slot writes to a page that it does not own.'
    state.tokens[pages[page], offset] = held.token
    state.writers[pages[page], offset] = version
    held.lengths += 1
    context = state.tokens[pages].ravel()[:held.lengths]
    held.token, logp = hashed_draw(context, held.ordinal, held.sample)
    held.drawn += 1
    state.active[slot] = held.token != EOS and held.drawn < held.limit
    out[0], out[1] = held.token, np.float32(logp).view(np.int32)
    if likeliest:
      tokens, logps = hashed_likeliest(held.token, logp, self.alternatives)
      out[3:] = *tokens, *np.array(logps, np.float32).view(np.int32)

  def _check_tables(self, state, table):
    """Asserts that pages of two slots were filled before either began to write."""
    ends = {}
    for slot in np.flatnonzero(state.active):
      full = state.held[slot].lengths // self.page_tokens
      for i, page in enumerate(table[slot]):
        if page:
          ends.setdefault(int(page), []).append(i < full)
    assert all(all(full) for full in ends.values() if len(full) > 1)


def hashed_draw(context, ordinal, sample):
  """Token and log-probability that follow a context.

  After prompts of ordinals from PREDICTABLE on, most tokens follow from the last two.
  """
  number = zlib.crc32(np.array([ordinal, sample, *context], np.int64).tobytes())
  token, logp = number % CONFIG.vocab, -float(number % 997) / 997
  if ordinal >= PREDICTABLE and number % 9:
    token = zlib.crc32(np.array([ordinal, *context[-2:]], np.int64).tobytes()) % CONFIG.vocab
  return token, logp


def hashed_likeliest(token, logp, count):
  """The likeliest tokens where FakeEngine draws one, and their log-probabilities."""
  return [(token + i) % CONFIG.vocab for i in range(count)], [logp - i for i in range(count)]


def hashed_completion(prompt, sample, sampling):
  """Tokens and log-probabilities that FakeEngine must write, computed without pages."""
  tokens, logps = [], []
  while len(tokens) < sampling.max_new_tokens and EOS not in tokens:
    token, logp = hashed_draw([*prompt.tokens, *tokens], prompt.ordinal, sample)
    tokens.append(token)
    logps.append(logp)
  return tokens, logps


def assert_hashed(done, submitted):
  """Asserts that nothing is lost and every token of FakeEngine is as computed without pages.

  Args:
    done: {(ordinal, sample): Completion}.
    submitted: (prompt, sampling) of each group.
  """
  assert set(done) == {(p.ordinal, i) for p, how in submitted for i in range(how.samples)}
  for prompt, how in submitted:
    for i in range(how.samples):
      tokens, logps = hashed_completion(prompt, i, how)
      assert done[prompt.ordinal, i].tokens.tolist() == tokens, (prompt.ordinal, i)
      np.testing.assert_allclose(done[prompt.ordinal, i].sampler_logp, logps, rtol=1e-6)


@pytest.fixture
def scarce(monkeypatch):
  """Lets sequences start with pages for one dispatch, so that short ones are preempted, too."""
  monkeypatch.setattr(slots, 'RESERVED_DISPATCHES', 1)


@pytest.fixture
def tiny():
  return types.SimpleNamespace(
      CONFIG=CONFIG, EOS=EOS, LONGEST=LONGEST, PREDICTABLE=PREDICTABLE, FakeEngine=FakeEngine,
      assert_same=assert_same, assert_all_returned=assert_all_returned, assert_hashed=assert_hashed,
      completion_logps=completion_logps, engine=engine,
      finish=finish, full_logps=full_logps, hashed_completion=hashed_completion, how=how,
      mesh=mesh, prompt=prompt, run=run, sampler=sampler, snapshot=snapshot)
