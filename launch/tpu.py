"""`python launch/tpu.py create|run|status|logs|stop|delete ...` from any folder; see command.py."""
import pathlib
import runpy
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
runpy.run_module('launch.command', run_name='__main__')
