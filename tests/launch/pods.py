"""Command lines of the launcher, for pods of each way of renting, and what the cloud was asked."""
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLOUD = ['--project=my-project', '--zone=us-east5-a', '--workdir=gs://bucket/runs/small']
POD = [
    f'--config={ROOT / "configs/quickstart.py"}', '--name=small', '--config.runtime.samplers=2',
    '--config.mesh.sampler.tensor=4', '--config.mesh.sampler_topology=v5p:2x2x1',
    '--config.mesh.trainer.fsdp=4', '--config.mesh.trainer.tensor=2',
    '--config.mesh.trainer_topology=v5p:2x2x2']
IRONWOOD = [
    text.replace('v5p', 'tpu7x').replace('tensor=4', 'tensor=8').replace('fsdp=4', 'fsdp=8')
    for text in POD]
FLAT = [text.replace('v5p:2x2x1', 'v6e:2x2').replace('v5p:2x2x2', 'v6e:2x4')
        for text in POD]


def count(world, words):
  """How many commands had these words."""
  return sum(words in line for line in world['log'])
