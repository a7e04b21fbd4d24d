"""The run: ``engine.py`` is the loop, to be read from top to bottom; what it prepares, keeps, saves and restores."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.engine.answering import Answer as Answer, KeptModel as KeptModel
    from clbench.engine.checkpoint import (
        MANIFEST as MANIFEST,
        load_checkpoint as load_checkpoint,
        remove_checkpoint as remove_checkpoint,
        save_checkpoint as save_checkpoint,
        tensor_bytes as tensor_bytes,
    )
    from clbench.engine.checkpoint_writer import CheckpointWriter as CheckpointWriter
    from clbench.engine.engine import run as run
    from clbench.engine.finished import run_folder as run_folder
    from clbench.engine.first_task import idle_in_first_task as idle_in_first_task
    from clbench.engine.interrupts import Interrupted as Interrupted, Interrupts as Interrupts, watch as watch
    from clbench.engine.learning_warnings import row_warnings as row_warnings, warning_texts as warning_texts
    from clbench.engine.memory_estimate import MemoryEstimate as MemoryEstimate, estimate_memory as estimate_memory
    from clbench.engine.one_run import run_one as run_one
    from clbench.engine.outcome import profile_lines as profile_lines
    from clbench.engine.preparation import Prepared as Prepared, parameter_bytes as parameter_bytes, prepare as prepare
    from clbench.engine.reporter import Reporter as Reporter, Stopped as Stopped, tell_notes as tell_notes
    from clbench.engine.state import State as State, save as save

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
