"""Ray's own messages, such as those about dead workers, kept in a file of the run.

Ray prints them over the display in the terminal, and has no setting for it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ray._private import worker


@contextlib.contextmanager
def kept(path: str | os.PathLike):
  """Appends what Ray would print to a file instead, while the context is open."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)

  def write(data, *_, **__):
    with open(path, 'a', encoding='utf-8') as file:
      file.writelines(f'({data.get("pid")}) {line}\n' for line in data['lines'])

  # Not part of Ray's interface: where a version does not have it, messages go on being printed.
  printed = getattr(worker, 'print_to_stdstream', None)
  if printed is None:
    yield
    return
  worker.print_to_stdstream = write
  try:
    yield
  finally:
    worker.print_to_stdstream = printed
