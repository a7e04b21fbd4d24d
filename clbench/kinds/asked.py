"""What a kept model of a kind is asked, one thing a JSON line of ``clbench predict``, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from clbench.data import Example
from clbench.errors import InputError

if TYPE_CHECKING:
    import datasets


class Limits(NamedTuple):
    """What bounds a question and its answer.

    Attributes:
        max_length: tokens after which the run cut a text.
        positions: how many the model has; None where it has no such limit.
        longest_answer: tokens that an answer may have, where one is written.
        shape: of the images that the run gave its model: channels, height, width.
        pairs: whether two texts are read together.
    """

    max_length: int
    positions: int | None = None
    longest_answer: int = 0
    shape: tuple[int, ...] = ()
    pairs: bool = False


class Code(NamedTuple):
    """Plain Python that makes ``inputs`` of what is asked, for a model card.

    Attributes:
        imports: lines before those from transformers.
        names: what is taken from transformers.
        lines: that make ``inputs`` of a list and of ``folder``.
        answer: that make the ``answers`` of a ``model``, where they are more than the greatest of its logits.
    """

    imports: tuple[str, ...]
    names: tuple[str, ...]
    lines: tuple[str, ...]
    answer: tuple[str, ...] = ()


class Asked:
    """The part of a kind that ``--save-model``, ``export`` and ``predict`` ask.

    Class attributes:
        deployable: whether they know it; one of a person's own is not found again without its file.
        columns: see :class:`clbench.Kind`.
        pipeline: what the hub calls what such models do.
        adapter_task: what PEFT calls it; None where it has no name for it.
        asked_in: what the column of a table may be called that holds what is asked.
        asked_beside: what that column is called that is read together with it; empty where there is none such.
        asked_example: it, as a command line has it.
        answered_as: what an answer is called in its JSON line.
        writes: whether the model writes its answers, a token after the other.
    """

    deployable: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]]
    pipeline: ClassVar[str] = ""
    adapter_task: ClassVar[str | None] = None
    asked_in: ClassVar[tuple[str, ...]] = ()
    asked_beside: ClassVar[str] = ""
    asked_example: ClassVar[str] = ""
    answered_as: ClassVar[str] = "label"
    writes: ClassVar[bool] = False

    def inputs_in(self, data: datasets.Dataset) -> list[Any]:
        """What :meth:`ask` takes, of each row of a split."""
        return list(data[self.columns[0]][:])

    def read_input(self, given: Any, where: str, limits: Limits) -> Any:
        """What :meth:`ask` takes, of a word of the command line, a line of a file or a cell of a table.

        Args:
            given: it.
            where: it was found, for the error line.
            limits: of the model that will be asked.

        Raises:
            InputError: it is none, or a file that it names cannot be read.
        """
        if not isinstance(given, str):
            raise InputError(f"{where} holds no text but {given!r}")
        return given

    def ask(self, inputs: Sequence[Any], tokenizer: Any, limits: Limits) -> list[Example]:
        """The question of each input as an example with all but its "task_id", as in an evaluation."""
        raise NotImplementedError(f"{type(self).__name__} does not define ask()")

    def columns_of(self, answer: Any, example: Example) -> set[int]:
        """The columns of the output layer that stand in an ``answer`` of :meth:`clbench.Kind.answer`."""
        return {answer}

    def spell(self, answer: Any, names: Sequence[str]) -> Any:
        """What :meth:`clbench.Kind.read` gave, as ``predict`` tells it."""
        return names[answer]

    def input_code(self, limits: Limits) -> Code:
        """How a program without clbench asks the model; its list is called as what is asked."""
        raise NotImplementedError(f"{type(self).__name__} does not define input_code()")

    def limit_told(self, limits: Limits) -> str:
        """A sentence of a model card on what is cut."""
        return f"Texts are cut at {limits.max_length} tokens"
