"""Points for TensorBoard, written by the thread that has them: a full disk costs points, not a run.

What stands here can be drawn from metrics.jsonl, too, so that nothing depends on it. Every opening
of a folder begins a file of its own, whose points replace those of earlier files from its first
step on. One step is one record of the file, in one write.

References: the framing of records is that of TFRecord
(tensorflow.org/tutorials/load_data/tfrecord), the messages are TensorFlow's Event and Summary.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from absl import logging
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

# Groups that TensorBoard shows, and the names that go into each; the first that fits counts.
# Names that have a group already, such as eval/accuracy, keep it.
GROUPS = {
    'reward': r'(trained_)?(reward|accuracy)|part_.*|bad_format|truncated|'
              r'groups_(all|none)_correct',
    'length': r'completion_tokens_.*|trained_tokens_mean',
    'time': r'.*_s|.*_per_s',
    'staleness': r'staleness_.*|versions_.*|lag.*',
    'parity': r'parity_.*|logprob_gap.*|sampler_gap.*',
    'experts': r'router_.*|experts?_.*',
    'prompts': r'groups_.*|verifier_errors',
    'loop': r'slots_idle|tokens_discarded|open_sequences|packing_efficiency|preemptions|'
            r'positions_shared|drafts_kept|failed_saves|weights_.*|version',
    'trainer': r'.*',
}


def tag(name: str) -> str:
  """The name of a metric as TensorBoard shows it: 'reward/part_format' of 'part_format'."""
  if '/' in name:
    return name
  return f'{next(g for g, names in GROUPS.items() if re.fullmatch(names, name))}/{name}'


class PointWriter:
  """Writes the numbers of steps into a folder; what cannot be written is logged and left out."""

  def __init__(self, folder: str | os.PathLike):
    self._folder = Path(folder)
    self._file = None

  def write(self, step: int, values: Mapping[str, float], *, adds: bool = False) -> None:
    """Writes the numbers of one step; points of that step and later ones in older files go.

    Args:
      adds: whether those of that step stay.
    """
    summary = Summary(value=[Summary.Value(tag=tag(name), simple_value=value)
                             for name, value in values.items()])
    try:
      if self._file is None:
        self._file = self._open(step + adds)
      _append(self._file, Event(wall_time=time.time(), step=step, summary=summary))
    except OSError as error:
      logging.error('The points of step %d could not be written to %s (%s): TensorBoard will not '
                    'show them.', step, self._folder, error)
      self.close()

  def close(self) -> None:
    """Closes the file; the next step begins another one."""
    file, self._file = self._file, None
    if file is not None:
      with contextlib.suppress(OSError):     # Every point was flushed, or given up.
        file.close()

  def _open(self, step: int):
    self._folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads files in the order of their names: the time may go back, a number does not.
    names = (re.match(r'events\.out\.tfevents\.(\d+)\.', name)
             for name in os.listdir(self._folder))     # Profilers leave files without a number.
    numbers = [int(match[1]) for match in names if match]
    name = f'events.out.tfevents.{max(numbers, default=0) + 1:010d}.{socket.gethostname()}'
    file = open(self._folder / name, 'xb', buffering=0)
    try:
      _append(file, Event(wall_time=time.time(), file_version='brain.Event:2'))
      _append(file, Event(wall_time=time.time(), step=step,
                          session_log=SessionLog(status=SessionLog.START)))
    except OSError:
      file.close()
      raise
    return file


def _append(file, event: Event) -> None:
  data = event.SerializeToString()
  length = struct.pack('<Q', len(data))
  record = b''.join((length, struct.pack('<I', masked_crc32c(length)),
                     data, struct.pack('<I', masked_crc32c(data))))
  if file.write(record) < len(record):
    raise OSError('the disk took a part of it')
