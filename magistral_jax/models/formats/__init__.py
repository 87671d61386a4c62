"""Checkpoint formats: reading, writing and conversion of a model's weights and shape.

    checkpoint            the entry: format, shape and parameters of the checkpoint at a path
    gguf                  GGUF files (llama.cpp)
    huggingface           Hugging Face folders: config.json (huggingface_config) and *.safetensors
    mistral_layout        Mistral's own folders: params.json and consolidated*.safetensors
    workdir               the workdir of a run: experiment.json and Orbax checkpoints
    safetensors           the file format that both kinds of folder use

    layout                names, shapes and axes of tensors in files and in the parameter tree
    reading               weights read block by block, straight into their shardings
    export                folders written in Hugging Face's or Mistral's layout
    companions            tokenizer files, generation settings and licence beside the weights
    conversion            a checkpoint of any format written in another (the command `convert`)

A new format is a module like gguf.py and an entry in checkpoint.FORMATS.
"""
