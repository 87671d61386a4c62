"""A file on a disk that gets full."""
import errno


class FullFile:
  """Takes `room` bytes more than it has, the last of them in a write of its own, then refuses.

  Args:
    can_cut: whether what was taken can be cut off again.
  """

  def __init__(self, file, room, *, can_cut=True):
    self._file, self.room, self._can_cut = file, room, can_cut

  def write(self, data):
    if data and not self.room:
      raise OSError(errno.ENOSPC, 'No space left on device')
    taken = self._file.write(data[:self.room])
    self.room -= taken
    return taken

  def truncate(self, size):
    if not self._can_cut:
      raise OSError(errno.EIO, 'Input/output error')
    return self._file.truncate(size)

  def __getattr__(self, name):
    return getattr(self._file, name)
