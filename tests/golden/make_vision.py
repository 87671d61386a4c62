r"""Makes the golden files of the models that read images: tiny checkpoints with their scores.

    pip install "torch>=2.6" "transformers>=5" pillow && python -m tests.golden.make_vision

Writes pixtral/ (LlavaForConditionalGeneration) and mistral3/ (Mistral3ForConditionalGeneration),
each a checkpoint folder with
  scores.jsonl   tokens with image placeholders, the images, and log-probabilities, all of them
                 computed in one pass in float64 from the stored weights
  greedy.jsonl   prompts and their greedy completions by transformers
  pixels.npz     every 7th number that PixtralImageProcessor (Pillow) makes of each image
and images/ beside them, with the images. Made with torch 2.13.0, transformers 5.24.0, Pillow 13.
"""
import json
import pathlib
import tempfile

import numpy as np
import torch
import transformers as tf
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from tests.golden import drawn_images
from tests.golden.make_golden import draw

FOLDER = pathlib.Path(__file__).parent
IMAGE, BREAK, END, EOS, FIRST_WORD, VOCAB = 10, 12, 13, 2, 14, 96
TEXT = dict(num_hidden_layers=2, hidden_size=32, intermediate_size=56, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, vocab_size=VOCAB, sliding_window=None,
            rms_norm_eps=1e-5, rope_theta=1e6, tie_word_embeddings=False,
            max_position_embeddings=512)
# Heads of 12: an even and an odd number of the pairs turn with rows and with columns.
VISION = dict(num_hidden_layers=2, hidden_size=24, intermediate_size=40, num_attention_heads=2,
              patch_size=4, hidden_act='silu', rope_theta=100.0)
# Words, an image, words, ...: a number is a number of words.
SEQUENCES = [
    [40], [3, 'wide', 9], [1, 'square', 4, 'large', 7, 'thin', 2], ['tall', 'wide', 5],
    [2, 'large', 'large', 6, 'square', 1]]
PROMPTS = [[3, 'wide', 4], ['tall', 2, 'square', 5], [6]]


def processor(patch, side):
  return PixtralImageProcessorPil(
      size=dict(longest_edge=side), patch_size=dict(height=patch, width=patch))


def processed(names, patch, side):
  """The arguments of the model that the processor makes of images, and the tokens of each."""
  if not names:
    return {}, []
  made = processor(patch, side)([drawn_images.draw(*drawn_images.SMALL[n]) for n in names],
                                return_tensors='pt', input_data_format='channels_last')
  grids = [(int(h) // patch, int(w) // patch) for h, w in made['image_sizes']]
  tokens = [([IMAGE] * cols + [BREAK]) * rows for rows, cols in grids]
  return dict(made), [[*t[:-1], END] for t in tokens]


def fill(spec, generator, patch, side):
  """Token ids of a sequence, the other arguments of the model, and the names of the images."""
  names = [part for part in spec if isinstance(part, str)]
  given, placeholders = processed(names, patch, side)
  placeholders, tokens = iter(placeholders), []
  for part in spec:
    if isinstance(part, str):
      tokens += next(placeholders)
    else:
      tokens += torch.randint(FIRST_WORD, VOCAB, (part,), generator=generator).tolist()
  return tokens, given, names


def lines(model, patch, side, seed):
  """The lines of scores.jsonl."""
  generator = torch.Generator().manual_seed(seed)
  for spec in SEQUENCES:
    tokens, given, names = fill(spec, generator, patch, side)
    ids = torch.tensor([tokens])
    with torch.no_grad():
      logps = torch.log_softmax(model(input_ids=ids, **wide(given)).logits[0], dim=-1)
    chosen = logps[:-1].gather(1, ids[0, 1:, None])[:, 0]
    yield dict(tokens=tokens, images=[f'../images/{name}.png' for name in names],
               logprobs=[None, *(round(x, 8) for x in chosen.tolist())])


def greedy(model, patch, side, seed):
  """The lines of greedy.jsonl."""
  generator = torch.Generator().manual_seed(seed)
  for spec in PROMPTS:
    tokens, given, names = fill(spec, generator, patch, side)
    ids = torch.tensor([tokens])
    with torch.no_grad():
      out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                           max_new_tokens=20, eos_token_id=EOS, pad_token_id=0, **wide(given))
    yield dict(tokens=tokens, images=[f'../images/{name}.png' for name in names],
               completion=out[0, len(tokens):].tolist())


def wide(given):
  return {key: x.double() if x.is_floating_point() else x for key, x in given.items()}


def pixels(patch, side):
  """Every 7th number that the processor makes of each image, and each image's height and width."""
  found = {}
  for name, size in (drawn_images.SMALL | drawn_images.REAL).items():
    real = name in drawn_images.REAL
    made = processor(16 if real else patch, 1024 if real else side)(
        [drawn_images.draw(*size)], return_tensors='np', input_data_format='channels_last')
    found[name] = np.asarray(made['pixel_values'])[0].ravel()[::9973 if real else 7]
    found[f'{name} size'] = np.array(made['image_sizes'][0])
  return found


def write(name, model, patch, side, seed):
  folder = FOLDER / name
  draw(model, seed).to(torch.float32)
  with tempfile.TemporaryDirectory() as saved:
    model.save_pretrained(saved)
    folder.mkdir(exist_ok=True)
    for file in ('config.json', 'model.safetensors'):
      (folder / file).write_bytes((pathlib.Path(saved) / file).read_bytes())
  model = type(model).from_pretrained(folder, dtype=torch.float64).eval()
  dump = lambda rows: '\n'.join(json.dumps(row) for row in rows) + '\n'
  (folder / 'scores.jsonl').write_text(dump(lines(model, patch, side, seed + 1)))
  (folder / 'greedy.jsonl').write_text(dump(greedy(model, patch, side, seed + 2)))
  np.savez_compressed(folder / 'pixels.npz', **pixels(patch, side))


def main():
  drawn_images.write(FOLDER / 'images', drawn_images.SMALL)
  common = dict(text_config=tf.MistralConfig(**TEXT), image_token_index=IMAGE,
                tie_word_embeddings=False)
  vision = lambda side: tf.PixtralVisionConfig(**VISION, image_size=side)
  write('pixtral', tf.LlavaForConditionalGeneration(tf.LlavaConfig(
      **common, vision_config=vision(32), projector_hidden_act='gelu', vision_feature_layer=-1,
      vision_feature_select_strategy='full', image_seq_length=1)), 4, 32, 10)
  write('mistral3', tf.Mistral3ForConditionalGeneration(tf.Mistral3Config(
      **common, vision_config=vision(40), spatial_merge_size=2)), 8, 40, 20)


if __name__ == '__main__':
  main()
