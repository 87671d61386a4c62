"""The keys of the config section `data`: sources of problems, and mixes of them."""
from __future__ import annotations

import dataclasses

from magistral_jax.data.difficulty import ORIGINS
from magistral_jax.data.sources import SINGLE_SOURCES, SOURCES
from magistral_jax.data.templates import TEMPLATES
from magistral_jax.experiment.keys import Key, Section, among
from magistral_jax.experiment.limit_types import (
    ANY,
    FLAG,
    NOT_NEGATIVE,
    NUCLEUS,
    TEXT,
    choice,
    whole,
)

# Of the sources that a mix may have, too, as `data.mix.NAME.jsonl`.
SOURCE_SECTIONS = (
    Section('data.arithmetic', 'Sums of any depth, made on demand.', dict(
        operations=Key(TEXT, "Operations that may occur, out of '+-*'.", '+-'),
        min_terms=Key(whole(2), 'Numbers in the shortest sum.', 2),
        max_terms=Key(whole(2), 'Numbers in the longest sum.', 3),
        max_number=Key(whole(0), 'Largest number in a sum.', 9)),
            among('data.source', ['arithmetic'])),
    Section('data.jsonl', 'Problems in JSON Lines files.', dict(
        path=Key(TEXT, 'Problems: a file, a folder, a pattern, or several with commas between '
                 'them.', ''),
        held_out_path=Key(TEXT, "The same, of held-out problems; '' holds out some of `path`.", ''),
        held_out=Key(whole(0), 'Problems of `path` that are held out, unless `held_out_path` '
                     'names others.', 200),
        fields=Key(TEXT, "Names that the files give our keys, such as 'problem=question'; '' for "
                   'none.', '')),
            among('data.source', ['jsonl'])),
    Section('data.tfds', 'Problems in a data set prepared by TFDS.', dict(
        path=Key(TEXT, 'Folder of the prepared data set.', ''),
        held_out=Key(whole(0), 'Problems that are held out.', 200)),
            among('data.source', ['tfds'])),
    Section('data.reasoning_gym', 'Problems of a task of the package reasoning-gym.', dict(
        task=Key(TEXT, 'Name of the task.', 'chain_sum'),
        settings=Key(TEXT, 'Its settings, a JSON object such as {"min_terms": 2}; "" for its own.',
                     ''),
        problems=Key(whole(1), 'Problems that are made to be trained on.', 10_000),
        held_out=Key(whole(0), 'Others that are held out.', 200)),
            among('data.source', ['reasoning_gym'])),
)

SECTIONS = (
    Section('data', 'Where problems come from, and how they become prompts.', dict(
        source=Key(choice(SOURCES), 'Where problems come from.'),
        max_prompt_tokens=Key(whole(1), 'Tokens of the longest prompt; longer ones are left out, '
                              'and counted.'),
        template=Key(choice(TEMPLATES), 'Chat template of the model.'),
        system_prompt=Key(TEXT, "Text of the system prompt; '' for none, 'magistral' for the one "
                          'in data/prompts.py.'))),
    *SOURCE_SECTIONS,
    Section('data.mix.*', 'One source of a mix. It may have any name: '
            '`--config.data.mix.code.weight=0.4` is the weight of the one named `code`.', dict(
        source=Key(choice(SINGLE_SOURCES), 'Where its problems come from.', 'jsonl'),
        weight=Key(NOT_NEGATIVE, 'Share of the prompts, in proportion to the other weights; 0 only '
                   'holds problems out.', 1.0),
        domain=Key(TEXT, "Domain of the problems that are taken, such as 'math' or 'code'; '' "
                   'takes all.', ''),
        difficulty=Key(choice(ORIGINS), "What says how hard a problem is: nothing, the "
                       "'difficulty' of its row, or a file of `rate`, where it is 1 - solve rate.",
                       'none'),
        pools=Key(FLAG, 'Whether problems that are solved always, or never, come less often.',
                  False)),
            among('data.source', ['mix'])),
    Section('data.mix.*', 'How hard the problems are that are trained on.', dict(
        difficulty_low=Key(ANY, 'Difficulty of the easiest.', 0.0),
        difficulty_high=Key(ANY, 'Difficulty of the hardest; one whose difficulty is not known is '
                            'left out.', 1.0)),
            among('data.mix.*.difficulty', ORIGINS[1:])),
    Section('data.mix.*', 'Pools of problems by the mean reward of their latest group. All that '
            'are in none of these two come once a round.', dict(
        hard_reward=Key(ANY, 'Mean reward up to which a problem is hard.', 0.25),
        hard_weight=Key(NUCLEUS, 'Share of the rounds that a hard problem is in.', 0.2),
        easy_reward=Key(ANY, 'Mean reward above which a problem is easy.', 0.75),
        easy_weight=Key(NUCLEUS, 'Share of the rounds that an easy problem is in.', 0.2)),
            among('data.mix.*.pools', [True])),
    Section('data.mix.*', 'Solve rates of a model.', dict(
        rates_path=Key(TEXT, 'Files that `rate` has written, with commas between them.', '')),
            among('data.mix.*.difficulty', ['rates'])),
    *(dataclasses.replace(section, name=section.name.replace('data.', 'data.mix.*.'),
                          when=among('data.mix.*.source', [section.name.removeprefix('data.')]))
      for section in SOURCE_SECTIONS)
)
