"""TFDS builders: commands that prepare a data set once, for `data.source=tfds` to read."""
