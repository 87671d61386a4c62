"""Exported checkpoints are loaded by transformers itself, where it is installed (extra `peers`)."""
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from magistral_jax.evaluation import scoring
from magistral_jax.models import decoder
from magistral_jax.models.formats import checkpoint, conversion, workdir

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

FOLDER = pathlib.Path(__file__).parent
NAMES = [name for name in ('llama', 'mistral', 'mixtral', 'pixtral', 'mistral3')
         if (FOLDER / name).exists()]


def peer(path, dtype=torch.float32):
  """The model that transformers makes of a folder; every tensor must have been used."""
  fields = json.loads((pathlib.Path(path) / 'config.json').read_text())
  model, info = getattr(transformers, fields['architectures'][0]).from_pretrained(
      path, dtype=dtype, output_loading_info=True)
  assert not any(info[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  return model.eval()


@pytest.mark.parametrize('name', ['pixtral', 'mistral3'])
def test_images_are_cut_as_the_files_say(tmp_path, name):
  from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
  conversion.convert(str(FOLDER / name), str(tmp_path / 'out'), 'hf')
  made = PixtralImageProcessorPil.from_pretrained(tmp_path / 'out')
  tower = checkpoint.read_config(str(FOLDER / name), dtype='float32').vision
  token = tower.patch * tower.merge
  expected = PixtralImageProcessorPil(
      size=dict(longest_edge=tower.side), patch_size=dict(height=token, width=token))
  image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
  # PixtralProcessor passes this patch size, which it reads from processor_config.json.
  whole = json.loads((tmp_path / 'out/processor_config.json').read_text())
  size = whole['patch_size'] * whole['spatial_merge_size']
  pixels = [found['pixel_values'] for found in (
      made([image], patch_size=dict(height=size, width=size), return_tensors='np'),
      expected([image], return_tensors='np'))]
  np.testing.assert_array_equal(*pixels)


def logps(model, tokens):
  with torch.no_grad():
    found = torch.log_softmax(model(torch.tensor([tokens])).logits[0].double(), -1)
  return found[:-1].gather(1, torch.tensor(tokens)[1:, None])[:, 0].numpy()


@pytest.mark.parametrize('name', NAMES)
def test_what_went_through_every_format_is_the_same_model(tmp_path, name):
  path = original = str(FOLDER / name)
  for form in ('mistral', 'orbax', 'hf'):
    conversion.convert(path, path := str(tmp_path / form), form)
  ours, theirs = peer(path), peer(original)
  assert type(ours) is type(theirs) or name == 'llama'
  before, after = theirs.state_dict(), ours.state_dict()
  assert before.keys() == after.keys()
  for tensor in before:
    assert torch.equal(before[tensor], after[tensor]), tensor
  tokens = list(range(20, 60))
  np.testing.assert_array_equal(logps(ours, tokens), logps(theirs, tokens))


@pytest.mark.parametrize('name', NAMES)
def test_a_trained_model_has_our_numbers(tmp_path, name):
  """An exported workdir has the same log-probabilities in transformers and here."""
  config = checkpoint.read_config(str(FOLDER / name), dtype='float32')
  run = tmp_path / 'run'
  run.mkdir()
  workdir.write_experiment(str(run), config, dict(kind='bytes', path=''), {})
  drawn = jax.tree.map(lambda x: 2 * x, decoder.init(config, seed=5))
  workdir.save_params(str(run), drawn, 7)
  conversion.convert(str(run), str(tmp_path / 'out'), 'hf')
  tokens = list(range(20, 60))
  ours = scoring.load_scorer(str(run), config, fsdp=1, tensor=1)([tokens])[0]
  # In float64: two models in float32 may be apart by the rounding of both.
  theirs = peer(tmp_path / 'out', torch.float64)
  theirs.set_experts_implementation('eager')       # The quicker ones know no float64.
  np.testing.assert_allclose(ours, logps(theirs, tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize('stated', [None, dict(eos_token_id=3), dict(eos_token_id=[3, 4]), dict(
    eos_token_id=2, _from_model_config=True)])
def test_an_export_stops_at_every_end_token_of_its_run(tmp_path, stated):
  """transformers itself stops there, whatever generation_config.json the run began with."""
  first, run, out = (tmp_path / name for name in ('first', 'run', 'out'))
  shutil.copytree(FOLDER / 'llama', first)
  if stated:
    (first / 'generation_config.json').write_text(json.dumps(stated))
  run.mkdir()
  config = checkpoint.read_config(str(first), dtype='float32')
  workdir.write_experiment(str(run), config, dict(kind='bytes', path=''),
                           dict(model=dict(checkpoint=str(first))), end_ids=[60, 61])
  workdir.save_params(str(run), checkpoint.load(str(first), config), 1)
  conversion.convert(str(run), str(out), 'hf')
  model = peer(out)
  assert {60, 61} <= set(model.generation_config.eos_token_id)
  ended = set()
  torch.manual_seed(0)
  for start in range(10, 40):
    tokens = model.generate(torch.tensor([[start]]), attention_mask=torch.ones(1, 1).long(),
                            do_sample=True, top_k=0, max_new_tokens=60, pad_token_id=0)[0].tolist()
    ends = [i for i, token in enumerate(tokens[1:], 1) if token in (60, 61)]
    assert ends in ([], [len(tokens) - 1])
    ended |= {tokens[i] for i in ends}
  assert ended == {60, 61}
