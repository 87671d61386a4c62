"""What the engine keeps on the device between two dispatches, and what goes into it. Axis: B slots.
"""

import dataclasses

import jax
import numpy as np

from magistral_jax.models import cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
  """State on the device between two dispatches; all arrays but the pages are [B]."""
  pages: cache.Pages
  lengths: jax.Array       # int32, tokens in the cache.
  token: jax.Array         # int32, next input.
  active: jax.Array        # bool.
  ordinal: jax.Array       # int32, address of the randomness: this and the next two.
  sample: jax.Array        # int32
  drawn: jax.Array         # int32, tokens drawn so far.
  limit: jax.Array         # int32, most tokens to draw.
  temperature: jax.Array   # float32
  top_p: jax.Array         # float32


@dataclasses.dataclass(frozen=True)
class Insertions:
  """Sequences to insert, numpy arrays [B]; rows with slot == B are padding without effect."""
  slot: np.ndarray
  lengths: np.ndarray
  token: np.ndarray
  ordinal: np.ndarray
  sample: np.ndarray
  drawn: np.ndarray
  limit: np.ndarray
  temperature: np.ndarray
  top_p: np.ndarray
  copy_from: np.ndarray    # Page to copy before decoding; 0 for none.
  copy_to: np.ndarray      # Page that the copy goes to.

  @classmethod
  def empty(cls, slots: int) -> 'Insertions':
    """Rows of padding only."""
    fields = {f.name: np.zeros(slots, np.int32) for f in dataclasses.fields(cls)}
    floats = {name: np.zeros(slots, np.float32) for name in ('temperature', 'top_p')}
    return cls(**fields | floats | dict(slot=np.full(slots, slots, np.int32)))
