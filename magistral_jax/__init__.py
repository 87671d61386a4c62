"""Asynchronous reinforcement learning of reasoning models in JAX: the loop is the architecture.

        problems (data/)                                              checkpoints, reports
           |                                                                  ^
           v     Prompt          Completion           Group        Batch      |
      data/stream.py -> sampler/role.py -> verifiers/role.py -> batching/role.py -> trainer/role.py
                            ^                                                        |
                            +---------------- weights/snapshot.py <------------------+
                                 WeightSnapshot: a new version after every update, taken up
                                 between two decode dispatches; nothing in flight is lost

Records on the arrows: records.py. What the loop asks of each role: orchestration/roles.py. The
loop: orchestration/loop.py, driven by threads.py or lockstep.py beside it. Roles in processes of
their own: runtime/. A config file becomes the parts of a run in experiment/. Model:
models/decoder.py. Meshes: sharding.py. Commands: `python -m magistral_jax` lists them.
"""

import importlib.util
import sys

# Python leaves '-m' here while it looks for the module to run. A shell in which no environment is
# active has none of the packages, and the first import to fail would be said with a traceback.
if sys.argv[:1] == ['-m'] and importlib.util.find_spec('absl') is None:
  print(f'error: the packages that magistral_jax needs are not installed for {sys.executable}: '
        f'`source .venv/bin/activate` in the clone first; launch/quickstart.sh makes .venv.',
        file=sys.stderr)
  raise SystemExit(2)
