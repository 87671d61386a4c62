"""What each process of a trainer gets of a batch."""
import numpy as np
import pytest

from magistral_jax.batching.packing import PackedSequence, pack
from magistral_jax.records import ParityRows

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime.trainer_proxy import TrainerGang  # noqa: E402

ROUTES = 4


def rows(number, multiple):
  """Rows of one sequence each; every number in row r is r + 1."""
  full = lambda n, value: np.full(n, value, np.int32)
  sequences = [PackedSequence(full(2, r + 1), full(3, r + 1), 0.0,
                              sampler_logp=np.full(3, r + 1.0),
                              routes=np.full((4, ROUTES), r + 1, np.uint8)) for r in range(number)]
  return pack(sequences, row_tokens=4, rows_multiple=multiple, layout=[[r] for r in range(number)])


def held(part):
  """The rows that a process holds, by their number; every array agrees."""
  numbers = part.tokens[:, 0].tolist()
  assert part.routes[:, 0].tolist() == [[n] * ROUTES for n in numbers]
  assert part.sampler_logp[:, 2].tolist() == numbers
  return numbers


@pytest.mark.parametrize('spans, trained, compared', [
    ([(0, 8)], [[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0]], [[1, 2]]),
    ([(0, 4), (4, 8)], [[1, 2, 3, 4, 9, 0, 0, 0], [5, 6, 7, 8, 0, 0, 0, 0]], [[1], [2]]),
    # Two devices of each piece of the rows lie in different processes.
    ([(0, 4), (0, 4), (4, 8), (4, 8)],
     [[1, 2, 3, 4, 9, 0, 0, 0]] * 2 + [[5, 6, 7, 8, 0, 0, 0, 0]] * 2, [[1], [1], [2], [2]])])
def test_a_process_gets_its_own_rows_with_their_experts(spans, trained, compared):
  gang = TrainerGang([], deadline_s=1.0, microbatch_rows=8)
  gang._spans = spans
  batch, parity = rows(9, 8), ParityRows(3, 6, rows(2, 2))
  for process, _ in enumerate(spans):
    assert held(gang.rows_of(process, batch)) == trained[process]
    part = gang.parity_of(process, parity)
    assert held(part.rows) == compared[process] and (part.version, part.tokens) == (3, 6)
