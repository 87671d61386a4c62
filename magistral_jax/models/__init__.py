"""Models: the decoder, its experts and its vision tower as functions of a parameter tree.

    decoder       the policy: one forward pass for packed rows and for a paged cache
    layers        norm, rotary positions, attention and feed-forward of one layer
    attention     the forms of attention; kernels: the same on TPUs; cache: pages of keys and values
    moe           mixture of experts; grouped: its products of rows with one of several matrices
    vision        the tower that reads images, and its adapter
    config        the shape of a model; parameters: the declaration of a weight
    formats/      checkpoints: GGUF, Hugging Face, Mistral, workdirs; export and conversion
"""
