"""Export of any readable checkpoint as a Hugging Face folder in float32, which peers can read.

    python tests/benchmarks/export.py CHECKPOINT FOLDER
"""

import sys

from magistral_jax.models.formats import checkpoint, export


def main(path: str, folder: str) -> None:
  config = checkpoint.read_config(path, dtype='float32')
  export.save_huggingface(checkpoint.load(path, config), config, folder,
                              fields=dict(max_position_embeddings=8192))


if __name__ == '__main__':
  main(*sys.argv[1:])
