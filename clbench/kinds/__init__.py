"""Kinds of task: what an example holds, how it is encoded, what its answer, loss and measure are."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.kinds.asked import Code as Code, Limits as Limits
    from clbench.kinds.base import (
        ABILITIES as ABILITIES,
        Encoded as Encoded,
        Kind as Kind,
        Part as Part,
        check_strings as check_strings,
        find_columns as find_columns,
    )
    from clbench.kinds.finding import available_kinds as available_kinds, find_kind as find_kind, kind_name as kind_name
    from clbench.kinds.image import common_shape as common_shape, images_tensor as images_tensor, in_shape as in_shape
    from clbench.kinds.measures import (
        ANSWERS as ANSWERS,
        BIO_MEASURE as BIO_MEASURE,
        LABELS as LABELS,
        TAGS as TAGS,
        WRITTEN as WRITTEN,
        measure_answers as measure_answers,
        score_by_chance as score_by_chance,
    )
    from clbench.kinds.text import texts_in as texts_in
    from clbench.kinds.tokens import (
        ask_tokenizer as ask_tokenizer,
        count_cut as count_cut,
        encode_texts as encode_texts,
        tokenise as tokenise,
    )

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
