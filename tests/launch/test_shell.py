"""Commands end in time, with all that they have started."""
import pytest

from launch.shell import CommandError, Shell

# Its child holds the pipes, as gcloud's ssh does.
STUCK = ['bash', '-c', 'echo begun; sleep 600; true']


def test_a_command_that_takes_too_long_is_ended_with_its_children():
  # Its output is read to the end, so no process holds its pipe any more.
  with pytest.raises(CommandError, match='(?s)begun.*took too long'):
    Shell().run(STUCK, timeout_s=2)


def test_an_interrupted_command_is_ended_with_its_children():
  class Interrupted(Shell):
    def _finish(self, process, deadline):
      self.process = process
      assert process.stdout.readline() == 'begun\n'
      raise KeyboardInterrupt

  shell = Interrupted()
  with pytest.raises(KeyboardInterrupt):
    shell.run(STUCK, timeout_s=600)
  assert shell.process.stdout.read() == '' and shell.process.returncode
  shell.process.stdout.close()
  shell.process.stderr.close()


def test_errors_are_told_after_all_have_ended():
  with pytest.raises(CommandError, match='(?s)false.*status 1.*exit 3.*status 3'):
    Shell().run_together([['false'], ['true'], ['bash', '-c', 'exit 3']], timeout_s=60)
  assert Shell().run(['bash', '-c', 'echo Not Found >&2; exit 1'], timeout_s=60,
                     tolerate=('not found',)) == ''
