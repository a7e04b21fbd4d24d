"""Avalanche over a sequence of tasks: its training loop, data loaders, evaluation and EWC plug-in.

Row "documented": texts padded to one length, as its default collation needs; ``train`` then ``eval`` of the whole test
stream with the default evaluator, torch's AdamW for the whole sequence. Row "same": clbench's batches, rates, AdamW.
EWC is ``EWCPlugin``, mode "separate": its importances are squares of a batch's mean gradient over the whole task.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.peer_data import Answers, EpochBatches, Loaded, adamw, answers, test_batches
from benchmarks.peer_run import run_peer
from benchmarks.sequences import EWC_LAMBDA, Outcome, TaskSequence
from clbench.clock import Clock
from clbench.data import Example, collate
from clbench.models import import_libraries
from clbench.rng import stream_seed
from clbench.toolkit import learning_rate_factor


class Texts(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Texts as Avalanche takes a data set: one tensor (2, tokens), ids and attention mask, and a label each.

    Args:
        examples: tokenised.
        padding_id: what fills a text up.
        width: tokens of every text; None leaves each its own length and pads a batch to its longest.
    """

    def __init__(self, examples: Sequence[Example], padding_id: int, width: int | None) -> None:
        self.targets = [example["label"] for example in examples]
        self.padding_id = padding_id
        self.inputs = []
        for ids in (example["input_ids"] for example in examples):
            empty = 0 if width is None else width - len(ids)
            pair = (ids, padding_id), (torch.ones_like(ids), 0)
            self.inputs.append(torch.stack([nn.functional.pad(row, (0, empty), value=fill) for row, fill in pair]))
        if width is None:
            self.collate_fn = self.pad_to_longest

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.inputs[number], self.targets[number]

    def pad_to_longest(self, items: Sequence[tuple[Tensor, int, int]]) -> list[Tensor]:
        """A batch: inputs (texts, 2, tokens), labels and task labels (texts,)."""
        inputs, labels, tasks = zip(*items, strict=True)
        examples = [{"input_ids": pair[0], "label": 0, "task_id": 0} for pair in inputs]
        batch = collate(examples, self.padding_id, torch.device("cpu"))
        return [
            torch.stack([batch["input_ids"], batch["attention_mask"]], 1), torch.tensor(labels), torch.tensor(tasks)
        ]  # fmt: skip


def model_class() -> Any:
    """Avalanche's kind of model that is given task labels; made here because Avalanche is imported late."""
    from avalanche.models import MultiTaskModule

    class TaskClassifier(MultiTaskModule):  # type: ignore[misc]
        """A sequence classifier that answers among the labels of a text's task."""

        def __init__(self, model: nn.Module, answers: Answers) -> None:
            super().__init__()
            self.model, self.answers = model, answers

        def adaptation(self, experience: Any) -> None:
            """Nothing grows: one output layer has the labels of all tasks."""

        def forward(self, x: Tensor, task_labels: Tensor) -> Tensor:
            logits = self.model(input_ids=x[:, 0], attention_mask=x[:, 1]).logits
            return self.answers.mask(logits, task_labels, self.training)

    return TaskClassifier


def make_benchmark(loaded: Loaded) -> Any:
    """The tasks as a task-incremental benchmark of Avalanche's."""
    from avalanche.benchmarks import benchmark_from_datasets, task_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset

    width, padding_id = None if loaded.same else loaded.config.max_length, loaded.tokenizer.pad_token_id

    def data_sets(tasks: Sequence[Sequence[Example]]) -> list[Any]:
        return [as_classification_dataset(Texts(examples, padding_id, width)) for examples in tasks]

    return task_incremental_benchmark(
        benchmark_from_datasets(train=data_sets(loaded.train), test=data_sets(loaded.tests))
    )


def make_ewc(clock: Clock) -> Any:
    """Avalanche's EWC, with its importances timed. Its penalty has no ½."""
    from avalanche.training.plugins import EWCPlugin

    class TimedEWC(EWCPlugin):  # type: ignore[misc]
        position = 0

        def compute_importances(self, *arguments: Any, **keywords: Any) -> Any:
            with clock.measure(f"fisher {self.position}"):
                self.position += 1
                return super().compute_importances(*arguments, **keywords)

    return TimedEWC(EWC_LAMBDA / 2)


def same_classes() -> tuple[Any, Any]:
    """For row "same": the strategy that takes clbench's batches, and the plug-in that takes its rates and clipping."""
    from avalanche.core import SupervisedPlugin
    from avalanche.training import Naive

    class SameBatches(Naive):  # type: ignore[misc]
        loaded: Loaded

        def make_train_dataloader(self, **_: Any) -> None:
            position = self.experience.current_experience
            batches = EpochBatches(self.loaded.config, self.loaded.names[position], self.loaded.train[position])
            self.dataloader = _loader(self.adapted_dataset, batches)

        def make_eval_dataloader(self, **_: Any) -> None:
            batches = test_batches(self.loaded.tests[self.experience.current_experience], self.loaded.device)
            self.dataloader = _loader(self.adapted_dataset, batches)

    class SameRates(SupervisedPlugin):  # type: ignore[misc]
        def __init__(self, loaded: Loaded, optimizer: torch.optim.Optimizer) -> None:
            super().__init__()
            self.loaded, self.peaks = loaded, [group["lr"] for group in optimizer.param_groups]

        def before_update(self, strategy: Any, **_: Any) -> None:
            config = self.loaded.config
            steps = len(strategy.dataloader) * config.epochs
            factor = learning_rate_factor(strategy.clock.train_exp_iterations, steps, config.warmup)
            for group, peak in zip(strategy.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * factor
            nn.utils.clip_grad_norm_(strategy.model.parameters(), config.max_grad_norm)

    return SameBatches, SameRates


def _loader(data_set: Any, batches: Any) -> DataLoader[Any]:
    return DataLoader(data_set, batch_sampler=batches, collate_fn=data_set.collate_fn)


class AvalanchePeer:
    """One strategy object of Avalanche's for all tasks."""

    def __init__(self, loaded: Loaded, clock: Clock) -> None:
        from avalanche.evaluation.metrics import accuracy_metrics
        from avalanche.training import Naive
        from avalanche.training.plugins import EvaluationPlugin

        self.loaded, config = loaded, loaded.config
        self.answers = answers(loaded)
        self.benchmark = make_benchmark(loaded)
        torch.manual_seed(stream_seed(config.seed, "avalanche"))
        model = model_class()(loaded.model, self.answers)
        keywords: dict[str, Any] = {
            "model": model,
            "criterion": nn.CrossEntropyLoss(),
            "train_mb_size": config.batch_size,
            "train_epochs": config.epochs,
            "eval_mb_size": config.batch_size,
            "device": loaded.device,
        }
        plugins = [make_ewc(clock)] if loaded.sequence.strategy == "ewc" else []
        if loaded.same:
            strategy_class, rates_class = same_classes()
            optimizer = adamw(model, loaded, None if loaded.sequence.plain_adamw else True)
            evaluator = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
            self.strategy = strategy_class(
                optimizer=optimizer, plugins=[*plugins, rates_class(loaded, optimizer)], evaluator=evaluator, **keywords
            )
            self.strategy.loaded = loaded
        else:
            optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
            self.strategy = Naive(optimizer=optimizer, plugins=plugins, **keywords)

    def train(self, position: int) -> None:
        """``train`` on an experience; in row "same" with a new optimizer state, as clbench has it."""
        self.strategy.train(self.benchmark.train_stream[position], reset_optimizer_state=self.loaded.same)

    def evaluate(self) -> list[float]:
        """``eval`` on the test stream."""
        found = self.strategy.eval(self.benchmark.test_stream)
        key = "Top1_Acc_Exp/eval_phase/test_stream/Task{0:03d}/Exp{0:03d}"
        return [float(found[key.format(position)]) for position in range(len(self.loaded.names))]


def run(sequence: TaskSequence) -> Outcome:
    """Run it."""
    import_libraries()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Avalanche's own calls of what it retires
        import avalanche.training  # noqa: F401  # seconds that are not timed

        return run_peer(sequence, AvalanchePeer)
