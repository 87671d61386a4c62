"""An actor handle whose role is in this process, so that a call of it is a call of a function."""
import types


class InProcessHandle:
  """Answers as runtime/actor_handle.py: ActorHandle does, at once and always."""
  greeting = 0

  def __init__(self, name, make, *args):
    self.name, self._make, self._args = name, make, args
    self.role, self.lost, self.seen = make(*args), 0, None
    self.where = dict(node='here', pid=0)
    self.status = dict(where='here pid 0', heard_s=0.0)
    # What a sampler's process asks of the trainer's.
    self.actor = types.SimpleNamespace(
        aside=types.SimpleNamespace(remote=self.ask),
        ping=types.SimpleNamespace(remote=self.ask_ping))

  def ready(self):
    return True

  def wait_ready(self, timeout_s, check):
    pass

  def ask(self, method, *args):
    return getattr(self.role, method)(*args)

  ask_aside = ask

  def ask_ping(self):
    return 0

  def arrived(self, reference):
    return True

  def arrivals(self, references, wait_s):
    return [True] * len(references)

  def call(self, method, *args, timeout_s):
    return self.ask(method, *args)

  def get(self, reference, timeout_s):
    return reference

  def mark_healthy(self):
    pass

  def restart(self, error):
    self.lost, self.role = self.lost + 1, self._make(*self._args)

  replace = restart

  def kill(self, actor=None):
    pass
