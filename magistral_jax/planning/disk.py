"""The room that a run takes on disk: checkpoints, and completions, which all stay."""

from __future__ import annotations

from magistral_jax.planning import programs

GB = 10**9
# Of a token in rollouts.jsonl: about four letters of English text, and what JSON escapes.
TOKEN_BYTES = 4
# Of a line beside its completion: the problem's text, the verdict and the keys.
LINE_BYTES = 2000
# Beside the newest: the best one, the one that is being measured, the one that is being written.
BESIDE_KEPT = 3


def usage(saved: int, c, sequence_tokens: int) -> dict[str, int]:
  """Bytes on disk by what takes them.

  Args:
    saved: bytes of the arrays in a checkpoint.
    sequence_tokens: of a completion.
  Returns:
    'checkpoint', 'checkpoints' and how many that are at most; for a run with reinforcement
    learning, 'rollouts_update' and 'rollouts' of all its updates, without the groups that are not
    trained.
  """
  most = c.checkpoints.keep + BESIDE_KEPT
  if kept := c.checkpoints.keep_every:
    most += (c.total_steps or c.cold_start.steps) // kept
  found = dict(checkpoint=saved, checkpoints_most=most, checkpoints=most * saved)
  if programs.supervised(c):
    return found
  update = (c.batching.prompts_per_batch * c.sampler.group_size
            * (sequence_tokens * TOKEN_BYTES + LINE_BYTES))
  return found | dict(rollouts_update=update, rollouts=update * c.total_steps,
                      updates=c.total_steps, sequence_tokens=sequence_tokens)


def sentences(found: dict[str, int]) -> list[str]:
  """What `usage` has found, for people."""
  said = [f'On disk: a checkpoint of {found["checkpoint"] / GB:,.1f} GB, of which up to '
          f'{found["checkpoints_most"]} are there at a time: {found["checkpoints"] / GB:,.0f} GB.']
  if 'rollouts' in found:
    said.append(
        f'rollouts.jsonl, no part of which is deleted, grows by {found["rollouts_update"] / GB:.2f}'
        f' GB an update if completions have {found["sequence_tokens"]:,} tokens of {TOKEN_BYTES} '
        f'bytes: {found["rollouts"] / GB:,.0f} GB in {found["updates"]:,} updates, groups that are '
        f'not trained beside that.')
  return said
