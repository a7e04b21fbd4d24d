"""How a word becomes an object: plug-in files, other libraries, strategy expressions, arguments, the plan of a run."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.plugins.arguments import check_arguments as check_arguments
    from clbench.plugins.building import build as build, load as load, load_function as load_function
    from clbench.plugins.description import (
        Description as Description,
        Parameter as Parameter,
        defines as defines,
        describe as describe,
        kind_of as kind_of,
        scenario_kind as scenario_kind,
    )
    from clbench.plugins.expression import (
        Component as Component,
        canonical as canonical,
        literal as literal,
        parse_expression as parse_expression,
    )
    from clbench.plugins.finding import (
        KINDS as KINDS,
        available as available,
        find as find,
        is_own_data as is_own_data,
        is_preset as is_preset,
    )
    from clbench.plugins.foreign import foreign_summaries as foreign_summaries, is_foreign as is_foreign
    from clbench.plugins.hashing import (
        code_hash as code_hash,
        reached_files as reached_files,
        source_hash as source_hash,
    )
    from clbench.plugins.members import build_strategies as build_strategies
    from clbench.plugins.objects import component_of as component_of
    from clbench.plugins.plan import Made as Made, Plan as Plan, make_plan as make_plan
    from clbench.plugins.processes import check_parts as check_parts
    from clbench.plugins.rebuilding import rebuild_strategy as rebuild_strategy

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
