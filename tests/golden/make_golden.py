r"""Makes the golden files: tiny checkpoints, and their log-probabilities by transformers.

    pip install "torch>=2.6" "transformers>=4.50" && python tests/golden/make_golden.py

Writes llama/, mistral/ and mixtral/ beside this file. Each is a checkpoint folder with
scores.jsonl, in the form that magistral_jax.score writes, and with greedy.jsonl, which transformers
decoded greedily; mixtral/ also has the balance loss of its routers. The tests read them without
torch. Made with torch 2.13.0 and transformers 5.24.0. Logits are computed in float64 from the
stored weights, so that the files are exact and all rounding lies in what is compared with them.
"""
import json
import pathlib

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

FOLDER = pathlib.Path(__file__).parent
COMMON = dict(num_hidden_layers=2, hidden_size=32, intermediate_size=56, num_attention_heads=4,
              num_key_value_heads=2, vocab_size=96, max_position_embeddings=512)
LENGTHS = (1, 2, 7, 32, 33, 150)    # Tokens of the scored sequences: both sides of a bucket.


def draw(model, seed):
  """Draws weights large enough for sharp, position-dependent predictions; defaults are flat."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn(weight.shape, generator=generator)
      if weight.ndim == 1:
        weight.copy_(1 + 0.3 * noise)
      elif 'embed_tokens' in name:
        weight.copy_(0.7 * noise)
      else:
        weight.copy_(1.5 * noise * weight.shape[-1] ** -0.5)
  return model


def score(model, seed):
  """Lines of log-probabilities of random sequences."""
  generator = torch.Generator().manual_seed(seed)
  model.eval()
  for length in LENGTHS:
    tokens = torch.randint(0, COMMON['vocab_size'], (1, length), generator=generator)
    with torch.no_grad():
      logps = torch.log_softmax(model(tokens).logits[0], dim=-1)
    chosen = logps[:-1].gather(1, tokens[0, 1:, None])[:, 0]
    yield dict(tokens=tokens[0].tolist(), logprobs=[None, *(round(x, 8) for x in chosen.tolist())])


def write(name, model, seed, dtype, **save):
  folder = FOLDER / name
  draw(model, seed).to(dtype).save_pretrained(folder, **save)
  (folder / 'generation_config.json').unlink(missing_ok=True)
  # Read back: a cast of the model in memory would also have rounded its rotary frequencies.
  model = type(model).from_pretrained(folder, dtype=torch.float64, experts_implementation='eager')
  lines = [json.dumps(line) for line in score(model, seed + 1)]
  (folder / 'scores.jsonl').write_text('\n'.join(lines) + '\n')
  lines = [json.dumps(line) for line in decode(model, seed + 2)]
  (folder / 'greedy.jsonl').write_text('\n'.join(lines) + '\n')
  return model


def decode(model, seed):
  """Lines of random prompts and their greedy completions."""
  generator = torch.Generator().manual_seed(seed)
  for length in (1, 5, 16, 23):
    prompt = torch.randint(0, COMMON['vocab_size'], (1, length), generator=generator)
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                         max_new_tokens=24, eos_token_id=None, pad_token_id=0)
    yield dict(prompt=prompt[0].tolist(), tokens=out[0, length:].tolist())


def balance(model, seed):
  """Padded sequences, their router logits [L, B, T, E], and each layer's balance loss by itself."""
  generator = torch.Generator().manual_seed(seed)
  tokens = torch.randint(0, COMMON['vocab_size'], (3, 20), generator=generator)
  mask = (torch.arange(20) < torch.tensor([[20], [13], [4]])).long()
  with torch.no_grad():
    routers = model(tokens, attention_mask=mask, output_router_logits=True).router_logits
  aux = [load_balancing_loss_func((layer,), model.config.num_local_experts,
                                  model.config.num_experts_per_tok, mask).item()
         for layer in routers]
  routers = torch.stack(routers).reshape(len(routers), *tokens.shape, -1)
  return dict(tokens=tokens.tolist(), lengths=mask.sum(1).tolist(), aux=aux,
              routers=[[round(x, 6) for x in row] for row in routers.flatten(0, 2).tolist()])


def main():
  # Tied, heads as wide as the width allows, weights in bfloat16.
  llama = LlamaConfig(**COMMON, tie_word_embeddings=True, rms_norm_eps=1e-6, rope_theta=10000.0)
  write('llama', LlamaForCausalLM(llama), 0, torch.bfloat16)
  # Untied, heads narrower than the width allows, in several files with an index.
  mistral = MistralConfig(**COMMON, head_dim=6, tie_word_embeddings=False, sliding_window=None,
                          rms_norm_eps=1e-5, rope_theta=1e6)
  write('mistral', MistralForCausalLM(mistral), 2, torch.float32, max_shard_size='40KB')
  # Experts narrower than the width.
  mixtral = MixtralConfig(**COMMON | dict(intermediate_size=24), head_dim=10, num_local_experts=4,
                          num_experts_per_tok=2, tie_word_embeddings=False, sliding_window=None,
                          rms_norm_eps=1e-5, rope_theta=1e6)
  model = write('mixtral', MixtralForCausalLM(mixtral), 4, torch.float32)
  (FOLDER / 'mixtral' / 'balance.json').write_text(json.dumps(balance(model, 7)) + '\n')


if __name__ == '__main__':
  main()
