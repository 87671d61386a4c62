"""Every key of a config: its limit, its meaning, and when it is there.

A config writes every value of the keys that it chooses, and no other key. Most are always chosen;
those of a `Section` with a `when` only while another key has a certain value: `data.jsonl` while
data.source='jsonl', `cold_start.rows` while cold_start.steps is above 0. Such keys have a starting
value here. The command line uses it when it chooses the section (`values.change`).

A section with a `*` in its name stands for any number of sections: `data.mix.*` for `data.mix.math`
and `data.mix.code`, say. `sections` gives the sections of a config, `find` the key of a name.

A new key is one line of SECTIONS, a value in the configs that choose it, and the argument that
reads it. `python -m magistral_jax.experiment.reference` then writes docs/config.md again.
What depends on two keys, on files or on the machine is in checks.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from magistral_jax.batching.advantages import ADVANTAGE_NORMS, NORMALIZERS
from magistral_jax.experiment import data_sections, stage
from magistral_jax.experiment.keys import Condition, Key, Section, above_0, among
from magistral_jax.experiment.limit_types import (
    ANY,
    DECAY,
    FLAG,
    NOT_NEGATIVE,
    NUCLEUS,
    POSITIVE,
    SHARE,
    TEXT,
    TOPOLOGY,
    choice,
    number,
    whole,
)
from magistral_jax.models.config import DTYPES, FAMILIES, KV_DTYPES, VISION, WEIGHT_DTYPES
from magistral_jax.models.decoder import REMAT
from magistral_jax.tokens import TOKENIZERS
from magistral_jax.trainer.losses import LOSSES
from magistral_jax.trainer.optimizer import OPTIMIZERS, SCHEDULES
from magistral_jax.trainer.state import KL_REFERENCES
from magistral_jax.verifiers.reward import CODE_REWARDS
from magistral_jax.verifiers.sandbox.sandbox import MODES as SANDBOXES
from magistral_jax.verifiers.workers.pool import MIN_MEMORY_MB
from magistral_jax.weights.role import TRANSPORTS

# The last two run every role in a process of its own; the two lockstep modes are reproducible.
MODES = ('threads', 'lockstep', 'ray', 'ray_lockstep')
ON_CLUSTER = ('ray', 'ray_lockstep')
MIN_TEST_MEMORY_MB = 32   # A Python interpreter that runs nothing.


SECTIONS = (
    Section('', 'Keys that stand in no section.', dict(
        seed=Key(whole(0, 2**31 - 1), 'Seed of the weights, the order of problems and all draws.'),
        total_steps=Key(whole(0), 'Updates of the weights; 0 ends after the cold start.'))),
    Section('tokenizer', 'Text to tokens and back.', dict(
        kind=Key(choice(TOKENIZERS), "Format of the tokenizer: 'auto' takes the one at the path, "
                 "'bytes' needs no file."),
        path=Key(TEXT, "File or folder of the tokenizer; '' takes the checkpoint's own."))),
    *data_sections.SECTIONS,
    Section('model', "The policy. With a checkpoint its shape is the checkpoint's; without one, "
            'and in plans, it is what stands here.', dict(
        family=Key(choice(FAMILIES), 'Architecture.'),
        checkpoint=Key(TEXT, "Weights to start from: a folder, GGUF file or workdir; '' draws "
                       'fresh ones.'),
        layers=Key(whole(1), 'Decoder layers.'),
        dim=Key(whole(1), 'Width of the residual stream.'),
        heads=Key(whole(1), 'Query heads; a multiple of `kv_heads`.'),
        kv_heads=Key(whole(1), 'Key and value heads.'),
        head_dim=Key(whole(2), 'Width of a head; even.'),
        ffn_dim=Key(whole(1), 'Width of the feed-forward, of one expert where there are several.'),
        rope_theta=Key(POSITIVE, 'Base of the rotary position frequencies.'),
        norm_eps=Key(POSITIVE, 'Epsilon of the RMS norms.'),
        tied=Key(FLAG, 'Whether the output matrix is the embedding.'),
        dtype=Key(choice(DTYPES), 'Type of the computation; the trainer keeps parameters in '
                  'float32.'),
        vocab=Key(whole(0), "Tokens of the vocabulary; 0 takes the tokenizer's."),
        vision=Key(choice(VISION), 'What becomes of the image tower: left out, kept as it is, or '
                   'trained.'))),
    Section('model', 'The experts of a mixture.', dict(
        experts=Key(whole(1), 'Feed-forwards that each layer chooses from.', 8),
        experts_per_token=Key(whole(1), 'Experts that a token meets in each layer.', 2)),
            among('model.family', ['mixtral'])),
    Section('model.tower', "The image tower, like the decoder's shape without a checkpoint.", dict(
        layers=Key(whole(1), 'Layers.', 24),
        dim=Key(whole(1), 'Width.', 1024),
        heads=Key(whole(1), 'Attention heads.', 16),
        head_dim=Key(whole(4), 'Width of a head; even.', 64),
        ffn_dim=Key(whole(1), 'Width of the feed-forward.', 4096),
        patch=Key(whole(1), 'Pixels along one side of a patch.', 16),
        side=Key(whole(1), 'Pixels of the longest side of an image; larger images are scaled '
                 'down.', 1024),
        rope_theta=Key(POSITIVE, 'Base of the rotary position frequencies.', 1e4),
        norm_eps=Key(POSITIVE, 'Epsilon of the RMS norms.', 1e-5),
        merge=Key(whole(1), 'merge x merge patches become one token.', 1),
        biases=Key(FLAG, 'Whether the adapter has biases.', True),
        image_token=Key(whole(0), 'Id of the token that an image embedding replaces.', 10)),
            among('model.vision', VISION[1:])),
    Section('cold_start', 'Supervised training before the loop.', dict(
        steps=Key(whole(0), 'Optimizer steps, at most; 0 for no cold start.'))),
    Section('cold_start', 'What the cold start imitates, and how.', dict(
        path=Key(TEXT, "Files of problems with solutions or traces; '' takes the training "
                 'problems.', ''),
        fields=Key(TEXT, 'Names that the files give our keys, as in data.jsonl.fields.', ''),
        weights=Key(TEXT, 'How often an epoch has each example of a file, a number for each part '
                    "of `path` between its commas; '' for once.", ''),
        epochs=Key(whole(0), 'Epochs after which it ends, if `steps` does not end it before; 0 '
                   'for as many as the steps take.', 0),
        examples=Key(whole(1), 'Examples to imitate, at most, conversations aside.', 2000),
        conversations=Key(TEXT, "Files of conversations to imitate, too; '' for none.", ''),
        conversation_share=Key(DECAY, 'Share of the examples of an epoch that are conversations.',
                               0.0),
        mistakes=Key(SHARE, 'Share of generated traces that end in a wrong answer; files are '
                     'taken as they are.', 0.0),
        rows=Key(whole(1), 'Rows of a step; a multiple of trainer.microbatch_rows.', 16),
        learning_rate=Key(NOT_NEGATIVE, 'Learning rate after the warm-up.', 1e-5),
        warmup_steps=Key(whole(0), 'Steps until the learning rate is reached.', 10),
        schedule=Key(choice(SCHEDULES), 'How the learning rate falls after the warm-up, to 0 '
                     'in the last step.', 'constant')),
            above_0('cold_start.steps')),
    Section('sampler', 'How completions are written.', dict(
        slots=Key(whole(1), 'Sequences that one sampler decodes at a time.'),
        in_flight=Key(whole(0), 'Sequences that all samplers together have in flight, which paces '
                      'them; 0 for as many as their slots hold. In lockstep they write just the '
                      'next batch, whatever this, `batching.backlog_batches` and '
                      '`batching.max_staleness` are.'),
        group_size=Key(whole(2), 'Completions of one prompt.'),
        max_new_tokens=Key(whole(1), 'Tokens of the longest completion.'),
        temperature=Key(POSITIVE, 'Divides the logits before the softmax.'),
        top_p=Key(NUCLEUS, 'Probability of the nucleus that tokens are drawn from; 1 while '
                  'training.'),
        page_tokens=Key(whole(1), 'Tokens of one page of the key-value cache.'),
        pages=Key(whole(0), 'Pages of one sampler; 0 makes enough for every slot at full length.'),
        kv_dtype=Key(choice(KV_DTYPES), "How pages hold keys and values: as the 'model' computes "
                     "them, or in eight bits, which makes room for about twice the tokens of "
                     "bfloat16: 'int8', not on TPUs, or 'fp8'."),
        weight_dtype=Key(choice(WEIGHT_DTYPES), "How samplers hold the matrices of their layers: "
                         "as the 'model' computes, or in about half the memory of bfloat16 as "
                         "'int8', with a scale for every output; not of models with experts."),
        decode_steps=Key(whole(1), 'Tokens of every slot in one dispatch; new weights are taken '
                         'up between two.'),
        draft_tokens=Key(whole(0), 'Tokens that are drafted from what the group has written, and '
                         'verified in one step; 0 for none. Completions are the same.'))),
    Section('sampler', 'Drafts.', dict(
        draft_slots=Key(whole(1), 'Sequences at most in slots while drafts are verified.', 8)),
            above_0('sampler.draft_tokens')),
    Section('verifiers', 'What a completion is paid, and the limits of judging it.', dict(
        format=Key(NOT_NEGATIVE, 'Reward of the right format.'),
        correct=Key(NOT_NEGATIVE, 'Reward of a right answer, on top of the format; above 0.'),
        length_max=Key(whole(0), 'Tokens above which a completion pays the whole length penalty; '
                       '0 for no penalty.'),
        language=Key(NOT_NEGATIVE, 'Reward where problem, thoughts and answer speak one language; '
                     '0 for none.'),
        queue=Key(whole(1), 'Completions that may wait for a worker before samplers pause: a bound '
                  'of memory; `batching.backlog_batches` bounds how far samplers run ahead.'),
        timeout_s=Key(POSITIVE, 'Processor seconds for judging one completion, without its '
                      'programs.'),
        memory_mb=Key(whole(MIN_MEMORY_MB), 'MiB of address space of one worker.'),
        sandbox=Key(choice(('none', *SANDBOXES)), "How programs are isolated: 'none' judges no "
                    "programs, 'unsafe' does not isolate them."))),
    Section('verifiers', 'The length penalty.', dict(
        length_cache=Key(whole(0), 'Tokens before `length_max` over which the penalty grows.', 0),
        length_penalty=Key(NOT_NEGATIVE, 'What a completion beyond `length_max` loses.', 0.1)),
            above_0('verifiers.length_max')),
    Section('verifiers', 'The language reward.', dict(
        language_model=Key(TEXT, "fastText file that identifies languages; '' for lid.176.", '')),
            above_0('verifiers.language')),
    Section('verifiers', 'Programs.', dict(
        code_reward=Key(choice(CODE_REWARDS), "Whether only a program that passes all tests is "
                        'paid, or each by the share that it passes.', 'all'),
        code_tests=Key(whole(1), 'Tests that a group is judged by, drawn anew for every prompt.',
                       20),
        test_timeout_s=Key(POSITIVE, 'Processor seconds of one test, and as many idle ones.', 4.0),
        test_memory_mb=Key(whole(MIN_TEST_MEMORY_MB), 'MiB of memory of one test.', 300)),
            among('verifiers.sandbox', SANDBOXES)),
    Section('batching', 'Groups, advantages, rows.', dict(
        prompts_per_batch=Key(whole(1), 'Groups that one update trains on.'),
        minibatches=Key(whole(1), 'Optimizer steps of one update; divides `prompts_per_batch`.'),
        backlog_batches=Key(whole(1), 'Batches\' worth of sampled groups that may wait, beside the '
                            'batch that the trainer works on or waits for, before samplers start '
                            'no more: complete groups, and completions that no verifier has begun '
                            'to judge.'),
        max_staleness=Key(whole(0), 'Versions that the weights which drew a token may be behind, '
                          'guaranteed by admission; 0 for no such limit.'),
        patience_batches=Key(whole(1), 'Batches\' worth of groups without one update after which '
                             'the run ends.'),
        row_tokens=Key(whole(1), 'Tokens of a row of packed sequences.'),
        share_prompts=Key(FLAG, 'Whether a prompt stands once in a row for all its completions '
                          'there; not for the attention kernel of TPUs.'),
        advantage_norm=Key(choice(ADVANTAGE_NORMS), 'Completions over which advantages are '
                           "standardised; 'none' leaves them."),
        normalizer=Key(choice(NORMALIZERS), 'What weighs the same in the loss: a group, a token of '
                       'the batch, a sequence, or any token.'))),
    Section('batching', 'Images.', dict(
        row_patches=Key(whole(0), 'Patches of images that a row has room for.', 0)),
            among('model.vision', VISION[1:])),
    Section('loss', 'The objective.', dict(
        name=Key(choice(LOSSES), 'Loss of the policy.'),
        clip_low=Key(SHARE, 'How far below 1 the probability ratio counts.'),
        clip_high=Key(NOT_NEGATIVE, 'How far above 1 the probability ratio counts.'),
        clip_schedule=Key(choice(SCHEDULES), 'How `clip_high` changes from update to update.'),
        importance_cap=Key(NOT_NEGATIVE, 'Largest probability ratio that counts; 0 for no limit.'),
        kl_reference=Key(choice(KL_REFERENCES), 'Weights that the policy is compared with: none, '
                         'the first ones, or a moving average.'),
        entropy_coef=Key(ANY, 'Weight of the entropy, which is rewarded where it is above 0.'),
        vocab_chunk=Key(whole(0), 'Tokens of the vocabulary whose logits are held at a time; 0 '
                        'for all.'))),
    Section('loss', 'A clip bound that changes.', dict(
        final_clip_high=Key(NOT_NEGATIVE, '`clip_high` of the last update.', 0.28)),
            among('loss.clip_schedule', [name for name in SCHEDULES if name != 'constant'])),
    Section('loss', 'The reference policy.', dict(
        kl_coef=Key(NOT_NEGATIVE, 'Weight of KL(policy || reference); 0 only measures it.', 0.0)),
            among('loss.kl_reference', KL_REFERENCES[1:])),
    Section('loss', 'The moving average.', dict(
        kl_ema=Key(DECAY, 'Decay of the reference towards the policy at every update.', 0.99)),
            among('loss.kl_reference', ['ema'])),
    Section('loss', 'The routers of a mixture.', dict(
        router_aux_coef=Key(NOT_NEGATIVE, "Weight of the routers' balance loss.", 0.0)),
            among('model.family', ['mixtral'])),
    Section('optimizer', 'The optimizer of the loop.', dict(
        name=Key(choice(OPTIMIZERS), 'Update rule.'),
        learning_rate=Key(NOT_NEGATIVE, 'Learning rate after the warm-up.'),
        warmup_steps=Key(whole(0), 'Optimizer steps until the learning rate is reached.'),
        schedule=Key(choice(SCHEDULES), 'How the learning rate falls after the warm-up.'),
        beta1=Key(DECAY, "Decay of the first moment; the momentum of 'sgd'."),
        weight_decay=Key(NOT_NEGATIVE, 'Weight decay of all parameters but norms.'),
        clip_norm=Key(NOT_NEGATIVE, 'Longest gradient that is let through; 0 for no limit.'),
        max_bad_steps=Key(whole(1), 'Gradients in a row that may be not finite; then the run '
                          'fails.'))),
    Section('optimizer', 'A learning rate that falls.', dict(
        final_learning_rate=Key(NOT_NEGATIVE, 'Learning rate of the last optimizer step.', 0.0)),
            among('optimizer.schedule', [name for name in SCHEDULES if name != 'constant'])),
    Section('optimizer', 'AdamW.', dict(
        beta2=Key(DECAY, 'Decay of the second moment.', 0.95),
        eps=Key(POSITIVE, 'Added to the root of the second moment.', 1e-8)),
            among('optimizer.name', ['adamw'])),
    Section('trainer', 'How the trainer computes.', dict(
        microbatch_rows=Key(whole(1), 'Rows of one forward and backward pass.'),
        remat=Key(choice(REMAT), "What the backward pass computes again: nothing, all, all but "
                  'matrix products, all but attention, or all but attention, its queries, keys '
                  'and values, and the first products of a feed-forward.'),
        unroll=Key(whole(1), 'Layers compiled one after another in one turn of the scan.'),
        parity_versions=Key(whole(0), 'Newest versions whose weights are kept in CPU memory, to '
                            'compare sampler and trainer under the same weights; 0 compares '
                            'nothing.'),
        parity_limit=Key(POSITIVE, 'Mean difference of their log-probabilities, in nats, above '
                         'which a run warns.'))),
    Section('trainer', 'The routers of a mixture.', dict(
        routing_replay=Key(FLAG, 'Whether the trainer takes for every token the experts that the '
                           'sampler took.', True)),
            among('model.family', ['mixtral'])),
    Section('mesh', 'The devices of the trainer and of each sampler.', dict(
        trainer_topology=Key(TOPOLOGY, 'TPU slice of the trainer.'),
        sampler_topology=Key(TOPOLOGY, 'TPU slice of each sampler.'))),
    Section('mesh.trainer', "Sizes of the axes of the trainer's mesh.", dict(
        fsdp=Key(whole(1), 'Cuts rows, and parameters with their optimizer state.'),
        expert=Key(whole(1), 'Cuts experts, and rows outside them.'),
        sequence=Key(whole(1), 'Cuts the positions of a row.'),
        tensor=Key(whole(1), 'Cuts heads, feed-forward and vocabulary.'))),
    Section('mesh.sampler', "Sizes of the axes of a sampler's mesh.", dict(
        expert=Key(whole(1), 'Cuts experts; outside them heads, feed-forward and vocabulary.'),
        tensor=Key(whole(1), 'Cuts heads, feed-forward and vocabulary.'))),
    Section('evaluation', 'Held-out problems, answered by one version of the weights.', dict(
        every=Key(whole(0), 'Updates between two evaluations; 0 for none before the end.'),
        problems=Key(whole(0), 'Held-out problems; 0 for no evaluation.'),
        samples=Key(whole(1), 'Completions of each problem.'),
        temperature=Key(NOT_NEGATIVE, 'Divides the logits before the softmax; 0 is greedy.'),
        top_p=Key(NUCLEUS, 'Probability of the nucleus that tokens are drawn from.'),
        max_new_tokens=Key(whole(1), 'Tokens of the longest completion.'))),
    Section('evaluation', 'Programs in evaluations.', dict(
        code_tests=Key(whole(0), 'Tests that a program is judged by, drawn for every problem; '
                       '0: all of them.', 0)),
            among('verifiers.sandbox', SANDBOXES)),
    Section('evaluation.benchmarks.*', 'A published benchmark in every evaluation, by its name in '
            '`evaluate --list`, as in `evaluation.benchmarks.aime24.data`.', dict(
        data=Key(TEXT, 'Its data: a file, or a folder that is searched.', ''),
        limit=Key(whole(0), 'Items that are asked, the first; 0: all.', 0)),
            Condition('evaluation.problems', 'is there', lambda v: v is not None), optional=True),
    Section('checkpoints', 'What is kept in the workdir.', dict(
        every=Key(whole(0), 'Updates between two checkpoints; 0 for none before the end.'),
        keep=Key(whole(1), 'Newest checkpoints that are kept, beside the best one.'),
        keep_every=Key(whole(0), 'Updates between two checkpoints that stay for good, a multiple '
                       'of checkpoints.every: what analysis.weights looks at; 0 for none.'))),
    Section('runtime', 'Where the roles run.', dict(
        mode=Key(choice(MODES), 'Threads of one process, the same in turn, or processes of a Ray '
                 'cluster.'),
        samplers=Key(whole(1), 'Samplers, each with a mesh of its own.'),
        verifier_workers=Key(whole(1), 'Processes that judge completions, for every verifier.'),
        deadline_s=Key(POSITIVE, 'Seconds that a wait may last without any progress.'))),
    Section('runtime', 'The Ray cluster.', dict(
        address=Key(TEXT, "Address of the cluster; '' starts one on this machine.", ''),
        trainers=Key(whole(1), 'Processes of the trainer; divides the devices of mesh.trainer.', 1),
        verifiers=Key(whole(1), 'Verifiers, each with workers of its own.', 1),
        heartbeat_s=Key(POSITIVE, 'Seconds without an answer after which a process is killed.',
                        30.0),
        restarts=Key(whole(0), 'Losses of one process in a row that are repaired.', 3),
        transport=Key(choice(TRANSPORTS), 'How weights reach the samplers: from device to device, '
                      'or through CPU memory.', 'host')),
            among('runtime.mode', ON_CLUSTER)),
    Section('stages', 'What changes in the course of the loop; stages.md says how.', dict(
        order=Key(TEXT, 'Names of the stages that follow the first, which is the config itself, '
                  "with commas between them; '' for none."))),
    Section('stages.*', f'One stage. Under its name stand the keys that it changes, as in '
            f'`--config.stages.longer.sampler.max_new_tokens=24576`; it may change '
            f'{", ".join(f"`{key}`" for key in stage.CHANGEABLE)}.', dict(
        opens=Key(choice(stage.REASONS), 'What opens it: reward, held-out accuracy or length has '
                  'stopped rising, the pages are too few, an update, or a person.', 'update')),
            Condition('stages.order', 'names stages', lambda v: v not in ('', None))),
    Section('stages.*', 'A stage that an update opens.', dict(
        update=Key(whole(1), 'Updates after which it opens.', 100)),
            among('stages.*.opens', ['update'])),
    Section('stages.*', 'A stage that opens when a curve has stopped rising.', dict(
        window=Key(whole(8), 'Newest updates that a decision looks at.', 40),
        rise=Key(POSITIVE, 'Least rise in so many updates that counts as rising: of the reward, of '
                 'the accuracy, or as a share of the length.', 0.02),
        risk=Key(number('above 0 and below 0.5', lambda v: 0 < v < 0.5), 'Chance in so many '
                 'updates that it opens although the curve rises by that.', 0.05),
        latest=Key(whole(0), 'Updates after which it opens whatever the curve does; 0 for none.',
                   0)),
            among('stages.*.opens', stage.CURVES)),
)

KEYS = {name: key for section in SECTIONS for name, key in section.names().items()}


def sections(names: Iterable[str]) -> list[Section]:
  """SECTIONS with one section in place of each `*` for every name that a config has there.

  Args:
    names: the dotted keys of the config.
  """
  found = []
  for section in SECTIONS:
    above, star, _ = section.name.partition('*')
    # What stands in the section above by itself, such as `stages.order`, is no section.
    here = dict.fromkeys(name[len(above):].split('.')[0] for name in names
                         if star and name.startswith(above) and '.' in name[len(above):])
    found += [section.named(name) for name in here] if star else [section]
  return found


def find(name: str) -> Key | None:
  """The key of a dotted name, one in a section of any name too; None if there is none."""
  return KEYS.get(name) or KEYS.get(general(name))


def changed_by_stage(name: str) -> str | None:
  """The key that one below a stage changes: 'sampler.in_flight' for 'stages.a.sampler.in_flight'.

  None for any other name, and for a key that no stage may change.
  """
  section, _, rest = name.partition('.')
  changed = rest.partition('.')[2]
  return changed if section == 'stages' and _general(changed) in stage.CHANGEABLE else None


def general(name: str) -> str:
  """A dotted key as the schema names it: 'data.mix.*.weight' for 'data.mix.code.weight'.

  What a stage changes has the name of the key that it changes.
  """
  return _general(changed_by_stage(name) or name)


def _general(name: str) -> str:
  for section in SECTIONS if name not in KEYS else ():
    above, star, _ = section.name.partition('*')
    if star and name.startswith(above):
      _, dot, rest = name[len(above):].partition('.')
      return f'{above}*{dot}{rest}'
  return name
