"""Where built-in data and models come from: pinned packages, fetched once, opened as archives, never executed."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.sources import (
        answers as answers,
        corpora as corpora,
        general as general,
        images as images,
        token_corpora as token_corpora,
    )
    from clbench.sources.cache import (
        fetch as fetch,
        model_folder as model_folder,
        pull as pull,
        read as read,
        source_rows as source_rows,
    )
    from clbench.sources.corpora import Rows as Rows
    from clbench.sources.model_arguments import (
        ARGUMENTS as ARGUMENTS,
        canonical_model as canonical_model,
        split_model_name as split_model_name,
    )
    from clbench.sources.model_names import (
        BUILT_IN as BUILT_IN,
        HUB_IDS as HUB_IDS,
        OTHER_MODELS as OTHER_MODELS,
        TIMM as TIMM,
        cannot_load as cannot_load,
        model_path as model_path,
    )
    from clbench.sources.pinned import SOURCES as SOURCES

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
