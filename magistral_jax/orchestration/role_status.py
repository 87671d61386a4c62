"""How every role is doing: what its own process says, and what the thread that drives it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from magistral_jax.orchestration.roles import RoleStatus


def joined(driven: Mapping[str, RoleStatus], remote: Mapping[str, RoleStatus],
           own: Mapping[str, Mapping[str, Any]]) -> dict[str, RoleStatus]:
  """One status for each role.

  Args:
    driven: what the threads here do with each role, or with all of a kind ('verifier').
    remote: what is known of roles in processes of their own: where they are, when they were heard.
    own: fields of a status by role, which the loop knows itself.
  """
  found = {role: dataclasses.replace(status, **own.get(role, {}))
           for role, status in driven.items()}
  for role, status in remote.items():
    driver = found.get(role) or found.get(kind(role)) or RoleStatus()
    queue = driver.queue if status.queue is None else status.queue
    found[role] = dataclasses.replace(status, doing=driver.doing, waiting=driver.waiting,
                                      queue=queue)
  for whole in {kind(role) for role in remote} - remote.keys():
    found.pop(whole, None)
  return found


def kind(role: str) -> str:
  """'sampler' of 'sampler-2'."""
  return role.rsplit('-', 1)[0]
