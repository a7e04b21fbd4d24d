"""Learner: the model and its label space; forward pass, logits, task loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from clbench.clock import Clock
from clbench.data import Batch, Example, LabelSpace, pad_left, upload
from clbench.errors import InputError
from clbench.head import Head, guess_head
from clbench.kinds import Kind, find_kind

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")


class Learner:
    """What strategies and the evaluator know of the model.

    Attributes:
        model: the network; its output has ``.logits`` of shape (examples, labels of the scenario), or, where every
            token is answered, (examples, tokens, labels of the scenario or words of the vocabulary).
        labels: which column is which label.
        kind: of the tasks: what an answer, its loss and its measure are.
        measures: by what each task's answers are measured.
        tokenizer: the model's; None for images.
        longest_answer: tokens of a written answer at most; 0 where none is written.
        seed: the run's seed, for random streams of one's own (``clbench.rng``).
        tasks: how many tasks the scenario has.
        tasks_seen: how many of them training has reached.
        local_labels: score training examples among their own task's labels even where the setting gives no task id.
        held_rows: output rows that a task's steps do not move stay as they answer, also where weights are averaged.
        learning_rates: peak learning rates of "body" and "head"; a strategy may change them in ``setup``.
        head: which parts of the model are its head; unless it is given, the last linear layer of an output a label.
        padding_side: where the model reads padding, "right" or "left"; batches always have it on the right.
        longest_text: tokens of the longest text that it will read; None where that is not known.
        positions: how many positions the model has; None where it has no such limit.
        clock: seconds by purpose, for the run's cost.
        keep_features: put what the output layer read, with its graph, into ``features`` in each forward pass.
        compiled: the model as torch.compile made it, for training's forward passes; None for the model itself.
        while_writing: inside, the model that answered goes on from its answer's first token; set by a strategy whose
            :meth:`~clbench.Strategy.predict` does not leave the model as it answered.
        pass_budget: tokens of texts, or images, of one pass outside training, where the model or memory that ran out
            set it; else 0.
        step, steps: how many steps of the task in training were done when the one in progress began, and how many it
            has.
        parameter_groups: the optimizer's own, while a task is trained: what is changed in a group holds from then on,
            but its rate, which the schedule sets in each step.
        gradients_again: computes the gradients of the step in progress anew, in place of those that are there, with the
            weights as they are then; callable in ``read_gradients`` and ``before_step``, not in fp16.
        skipped_steps: steps of the task in training that fp16's gradient scaler skipped.
        new_examples: those of the step's batch before any strategy added to it, in order, on the host: a memory that
            keeps them need not read them back from the device.
        events: what the strategy noted, for the run's log; see :meth:`note`.
    """

    def __init__(
        self,
        model: nn.Module,
        labels: LabelSpace,
        *,
        kind: str | Kind = "text",
        measures: Sequence[str] = (),
        tokenizer: Any = None,
        longest_answer: int = 0,
        seed: int = 0,
        padding_id: int = 0,
        precision: str = "fp32",
        lr: float = 1e-4,
        head_lr: float = 3e-2,
        clock: Clock | None = None,
        head: Head | None = None,
        padding_side: str = "right",
        longest_text: int | None = None,
        positions: int | None = None,
    ) -> None:
        self.model = model
        self.head = head or guess_head(model, len(labels.names))
        self.padding_side = padding_side
        self.longest_text, self.positions = longest_text, positions
        self.labels = labels
        self.kind = find_kind(kind)
        self.measures = tuple(measures) or (self.kind.measures[0],) * len(labels.columns)
        self.tokenizer, self.longest_answer = tokenizer, longest_answer
        self.seed = seed
        self.padding_id = padding_id
        self.precision = precision
        self.tasks = len(labels.columns)
        self.tasks_seen = 0
        self.local_labels = False
        self.held_rows = False
        self.learning_rates = {"body": lr, "head": head_lr}
        self.clock = clock or Clock()
        self.keep_features = False
        self.features: Tensor | None = None
        self.new_examples: Sequence[Example] = ()
        self.events: list[dict[str, Any]] = []
        self.compiled: Callable[..., Any] | None = None
        self.while_writing: Callable[[], AbstractContextManager[None]] = nullcontext
        self.pass_budget = self.skipped_steps = 0
        self.step = self.steps = 0
        self.parameter_groups: list[dict[str, Any]] = []
        self.gradients_again: Callable[[], None] | None = None
        self._allowed: dict[tuple[int, bool, torch.device], Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    @property
    def body(self) -> nn.Module:
        """The model without its head; with what strategies put into it."""
        wrapped: Any = getattr(self.model, "get_base_model", None)  # PEFT's, around the model
        model: Any = wrapped() if wrapped else self.model
        body: nn.Module = getattr(model, "base_model", model)
        return body

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's mixed precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    @contextmanager
    def unscaled(self) -> Iterator[None]:
        """Inside, passes are for gradients that no gradient scaler sees: where the run is in fp16, they are in fp32.

        In fp16 what is below 6e-8 is 0, as most of a trained model's gradients are. bf16 reaches as far as fp32.
        """
        precision = self.precision
        self.precision = "fp32" if precision == "fp16" else precision
        try:
            yield
        finally:
            self.precision = precision

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``examples`` as a batch on the model's device."""
        return self.kind.collate(examples, self.padding_id, self.device)

    def logits(self, batch: Batch, model: nn.Module | None = None) -> Tensor:
        """Unmasked fp32 logits, of the shape of the model's, by ``model`` when another one is given."""
        if self.keep_features and model is None:
            logits, self.features = self.logits_and_features(batch)
            return logits
        # Only training's passes: hooks (the Fisher information's) are invisible in a compiled model.
        if model is None and self.compiled is not None and self.model.training:
            return self._forward(batch, self.compiled)
        return self._forward(batch, model or self.model)

    def logits_and_features(self, batch: Batch, model: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """The logits, and what the output layer computed them from, fp32; one forward pass.

        Features are (examples, features), or (examples, tokens, features) where every token is answered.
        """
        read: list[tuple[Tensor, Tensor]] = []
        layer = self.output_layer(model)
        hook = layer.register_forward_hook(lambda _, inputs, output: read.append((inputs[0], output)))
        try:
            logits = self._forward(batch, model or self.model)
        finally:
            hook.remove()
        features, scores = read[-1]
        if features.ndim == 3 and logits.ndim == 2:  # every token is scored, and the model knows which answers
            with torch.no_grad():
                answering = (scores.float() - logits[:, None]).abs().sum(-1).argmin(1)
            features = features[torch.arange(len(answering), device=answering.device), answering]
        return logits, features.float()

    def logits_and_states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The logits, the body's last token states (examples, tokens, hidden size) and which tokens are no padding.

        The states are as the model computes them; the mask (examples, tokens) is of ones and zeros.
        """
        read: list[Any] = []
        hook = self.body.register_forward_hook(lambda _, __, output: read.append(output))
        try:
            logits = self._forward(batch, self.model)
        finally:
            hook.remove()
        states: Tensor = read[-1][0]  # transformers: the last hidden state comes first
        return logits, states, self.inputs(batch)["attention_mask"]

    def output_layer(self, model: nn.Module | None = None) -> nn.Linear:
        """The linear layer that gives the logits, one row a label, of ``model`` when another one is given.

        Raises:
            InputError: the model has none.
        """
        layer = self.head.find_output_layer(model or self.model)
        if layer is None:
            name = type(self.model).__name__
            raise InputError(f"{name} has no linear layer with {len(self.labels.names)} outputs, one a label")
        return layer

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The model's keyword arguments for ``batch``, padded on the side where the model reads padding."""
        given = {key: batch[key] for key in INPUTS if key in batch}
        return pad_left(given) if self.padding_side == "left" and "input_ids" in given else given

    def _forward(self, batch: Batch, model: Callable[..., Any]) -> Tensor:
        with self.autocast():
            output = model(**self.inputs(batch))
        logits: Tensor = output.logits
        return logits.float()

    def note(self, event: str, **values: Any) -> None:
        """A line for the run's log.jsonl: what happened, and JSON values; a ``text`` among them is also said."""
        self.events.append({"event": event, **values})

    def take_events(self) -> list[dict[str, Any]]:
        """What was noted since the last call."""
        events, self.events = self.events, []
        return events

    def mask(self, logits: Tensor, task_ids: Tensor) -> Tensor:
        """``logits`` with −inf in every column that is no candidate for the example's task."""
        if not self.kind.over_labels:
            return logits
        allowed = self.candidates(self.local_labels)[task_ids]
        return logits.masked_fill(~(allowed if logits.ndim == 2 else allowed[:, None]), float("-inf"))

    def candidates(self, local: bool) -> Tensor:
        """Which labels may be the answer to an example of each task: bool (tasks, labels of the scenario).

        ``local`` says whether only the task's own are, whatever the setting.
        """
        key = (self.tasks_seen, local, self.device)
        if key not in self._allowed:
            allowed = torch.zeros(self.tasks, len(self.labels.names), dtype=torch.bool)
            for task in range(self.tasks):
                columns = self.labels.columns[task] if local else self.labels.candidates(task, self.tasks_seen)
                allowed[task, list(columns)] = True
            self._allowed[key] = upload(allowed, self.device)
        return self._allowed[key]

    def example_losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """The task loss of each example (examples,), among its candidate labels; see :meth:`clbench.Kind.losses`."""
        return self.kind.losses(self.mask(logits, batch["task_ids"]), batch["labels"])

    def decode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Greedy continuation of each text of ``batch``, at most ``longest_answer`` tokens.

        Returns:
            Token ids (examples, tokens), padded after the one that ends an answer; the geometric mean of the
            probabilities of an answer's tokens, its end included (examples,).
        """
        from transformers import GenerationConfig

        inputs = pad_left({key: batch[key] for key in INPUTS if key in batch})
        ending = self.tokenizer.eos_token_id
        settings = GenerationConfig(
            max_new_tokens=self.longest_answer,
            do_sample=False,
            eos_token_id=ending,
            pad_token_id=self.padding_id,
            return_dict_in_generate=True,
            output_logits=True,
        )
        model: Any = self.model
        with self.autocast(), self.while_writing():
            found = model.generate(**inputs, generation_config=settings)
        written = found.sequences[:, inputs["input_ids"].shape[1] :]
        scores = torch.stack(found.logits, dim=1).float().log_softmax(-1)
        sure = scores.gather(-1, written[..., None]).squeeze(-1)
        ended = (written == ending).cumsum(1)
        counted = ended - (written == ending).long() == 0  # up to the end, which counts
        return written, (sure.masked_fill(~counted, 0.0).sum(1) / counted.sum(1)).exp()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that learn, in the model's order."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def weights_are_finite(self) -> bool:
        """Whether every parameter that learns is a finite number throughout; waits for the device."""
        largest = [parameter.detach().abs().max() for _, parameter in self.named_parameters()]
        return not largest or bool(torch.stack(largest).isfinite().all())

    def is_head(self, name: str) -> bool:
        """Whether the parameter or module ``name`` belongs to the head, not to the (pretrained) body."""
        return self.head.owns(name)

    @contextmanager
    def without_modules(self) -> Iterator[None]:
        """Inside, no module that PEFT added takes part; what may learn stays as it is."""
        layers: list[Any] = [layer for layer in self.model.modules() if hasattr(layer, "_active_adapter")]
        active = [layer.active_adapters for layer in layers]
        try:
            for layer in layers:
                layer._active_adapter = []
            yield
        finally:
            for layer, names in zip(layers, active, strict=True):
                layer._active_adapter = names

    def freeze_body(self) -> None:
        """Let only the head learn."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.is_head(name))
