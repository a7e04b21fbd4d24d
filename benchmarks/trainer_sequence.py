"""The Hugging Face Trainer called task after task; EWC as a subclass whose compute_loss adds the penalty.

Row "documented": one Trainer a task with TrainingArguments as they are but for batch size, epochs and learning rate,
DataCollatorWithPadding, ``train()`` and ``evaluate()`` of every test set. Row "same": clbench's batches, rates, AdamW.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.peer_data import Answers, EpochBatches, Loaded, adamw, answers, test_batches
from benchmarks.peer_run import run_peer
from benchmarks.sequences import EWC_LAMBDA, Outcome, TaskSequence
from benchmarks.trainer_ewc import Weights, fisher_by_loop, penalty
from clbench.clock import Clock
from clbench.data import Example, collate
from clbench.models import import_libraries
from clbench.rng import generator, stream_seed
from clbench.toolkit import learning_rate_factor


class TaskClassifier(nn.Module):
    """A sequence classifier that answers among the labels of ``task``, as the Trainer expects a model to be."""

    def __init__(self, model: nn.Module, answers: Answers) -> None:
        super().__init__()
        self.model, self.answers, self.task = model, answers, 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """The masked logits and, with ``labels``, the mean loss."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        task_ids = torch.full((len(logits),), self.task, device=logits.device)
        logits = self.answers.mask(logits, task_ids, self.training)
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


def inputs(examples: Sequence[Example], loaded: Loaded) -> dict[str, Tensor]:
    """A batch as the model takes it, padded to its longest text."""
    batch = collate(examples, loaded.tokenizer.pad_token_id, loaded.device)
    return {key: batch[key] for key in ("input_ids", "attention_mask", "labels")}


class TrainerPeer:
    """A Trainer a task around one model."""

    def __init__(self, loaded: Loaded, clock: Clock, folder: str) -> None:
        from transformers import set_seed

        self.loaded, self.clock, self.folder = loaded, clock, folder
        self.answers = answers(loaded)
        self.model = TaskClassifier(loaded.model, self.answers)
        self.past: list[tuple[Weights, Weights]] = []
        self.train_sets = [dataset(examples, loaded) for examples in loaded.train]
        self.test_sets = [dataset(examples, loaded) for examples in loaded.tests]
        set_seed(stream_seed(loaded.config.seed, "trainer") % 2**32)
        self.trainer = self._make_trainer(0)

    def train(self, position: int) -> None:
        """A new Trainer's ``train()``; then, for EWC, the task's Fisher and weights are remembered."""
        self.model.task = position
        self.trainer = self._make_trainer(position)
        self.trainer.train()
        if self.loaded.sequence.strategy == "ewc":
            with self.clock.measure(f"fisher {position}"):
                stream = generator(self.loaded.config.seed, "fisher", position)
                examples = self.loaded.train[position]
                chosen = torch.randperm(len(examples), generator=stream)[: self.loaded.sequence.fisher_samples]
                batches = [inputs([examples[number]], self.loaded) for number in chosen]
                fisher = fisher_by_loop(self.model, batches, stream)
                self.past.append((fisher, {name: p.detach().clone() for name, p in self.model.named_parameters()}))

    def evaluate(self) -> list[float]:
        """``evaluate()`` of every test set."""
        found = []
        for position, examples in enumerate(self.test_sets):
            self.model.task = position
            found.append(float(self.trainer.evaluate(examples)["eval_accuracy"]))
        return found

    def _make_trainer(self, position: int) -> Any:
        from transformers import DataCollatorWithPadding, TrainingArguments

        loaded, config = self.loaded, self.loaded.config
        arguments: dict[str, Any] = {
            "output_dir": self.folder,
            "num_train_epochs": config.epochs,
            "per_device_train_batch_size": config.batch_size,
            "per_device_eval_batch_size": config.batch_size,
            "learning_rate": config.lr,
            "use_cpu": loaded.device.type == "cpu",
        }
        optimizers: tuple[Any, Any] = (None, None)
        if loaded.same:
            arguments |= {"max_grad_norm": config.max_grad_norm, "save_strategy": "no"}
            optimizers = self._same_optimizer(len(loaded.train[position]))
        trainer = trainer_class()(
            model=self.model,
            args=TrainingArguments(**arguments),
            train_dataset=self.train_sets[position],
            data_collator=DataCollatorWithPadding(loaded.tokenizer),
            compute_metrics=accuracy,
            optimizers=optimizers,
        )
        trainer.past, trainer.same = self.past, (loaded, position) if loaded.same else None
        return trainer

    def _same_optimizer(self, texts: int) -> tuple[Any, Any]:
        config = self.loaded.config
        optimizer = adamw(self.model, self.loaded, True)
        steps = config.steps(texts)
        factor = partial(learning_rate_factor, steps=steps, warmup=config.warmup)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def dataset(examples: Sequence[Example], loaded: Loaded) -> Any:
    """Examples as the Trainer's documentation has them, or as they are for row "same"."""
    if loaded.same:
        return examples
    from datasets import Dataset

    ids = [example["input_ids"].tolist() for example in examples]
    masks = [[1] * len(tokens) for tokens in ids]
    return Dataset.from_dict(
        {"input_ids": ids, "attention_mask": masks, "labels": [example["label"] for example in examples]}
    )


def accuracy(prediction: Any) -> dict[str, float]:
    """The Trainer's compute_metrics."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def trainer_class() -> Any:
    """The Trainer's subclass; made here because transformers is imported late."""
    from transformers import Trainer

    class SequenceTrainer(Trainer):  # type: ignore[misc]
        """With the penalties of ``past`` tasks; where ``same`` is given, it does not choose the batches itself."""

        past: Sequence[tuple[Weights, Weights]] = ()
        same: tuple[Loaded, int] | None = None

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **keywords: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **keywords)
            if model.training:
                loss = loss + penalty(model, self.past, EWC_LAMBDA)
            return (loss, outputs) if return_outputs else loss

        def get_train_dataloader(self) -> Any:
            if self.same is None:
                return super().get_train_dataloader()
            loaded, position = self.same
            examples = loaded.train[position]
            return _loader(loaded, examples, EpochBatches(loaded.config, loaded.names[position], examples))

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            if self.same is None:
                return super().get_eval_dataloader(eval_dataset)
            loaded = self.same[0]
            return _loader(loaded, eval_dataset, test_batches(eval_dataset, loaded.device))

    return SequenceTrainer


def _loader(loaded: Loaded, examples: Any, batches: Any) -> DataLoader[Any]:
    return DataLoader(examples, batch_sampler=batches, collate_fn=partial(inputs, loaded=loaded))


def run(sequence: TaskSequence) -> Outcome:
    """Run it."""
    import_libraries()
    trainer_class()  # the import of the Trainer takes seconds

    with tempfile.TemporaryDirectory(prefix="clbench-trainer-") as folder:
        return run_peer(sequence, lambda loaded, clock: TrainerPeer(loaded, clock, folder))
