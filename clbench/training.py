"""Training on one task: the steps, with the strategy's hooks in their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from clbench.config import RunConfig
from clbench.data import Example, TaskData, length, training_batches
from clbench.errors import RunError
from clbench.learner import Learner
from clbench.progress import Reporter
from clbench.rng import generator, stream_seed
from clbench.strategy import Strategy

# The loss is read from the device every so many steps: for progress, and to find NaN.
REPORT_EVERY = 10


def train_task(
    config: RunConfig,
    strategy: Strategy,
    learner: Learner,
    task: TaskData,
    examples: Sequence[Example],
    report: Reporter,
) -> int:
    """Train on ``examples`` for ``config.epochs`` and return how many examples the model has learned from.

    Raises:
        RunError: the loss is no longer a number; names the task, step and batch.
    """
    torch.manual_seed(stream_seed(config.seed, "dropout", task.name))
    lengths = [length(example) for example in examples]
    steps_per_epoch = -(-len(examples) // config.batch_size)
    steps = steps_per_epoch * config.epochs
    accelerator = _accelerator(config, learner)
    optimizer = accelerator.prepare(_optimizer(config, learner))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer.optimizer, _schedule(config, steps))
    parameters = [p for _, p in learner.named_parameters()]
    learner.model.train()
    report.start_task(f"{task.name} {task.position + 1}/{learner.tasks}", steps)
    losses: list[Tensor] = []
    step = seen = seen_before = 0
    for epoch in range(config.epochs):
        order = generator(config.seed, "data order", task.name, epoch)
        for numbers in training_batches(lengths, config.batch_size, order):
            total = torch.zeros((), device=learner.device)
            for part in _micro_batches(numbers, config):
                batch = strategy.train_batch(learner.collate([examples[i] for i in part]))
                logits = learner.logits(batch)
                loss = learner.example_losses(logits, batch).mean()
                extra = strategy.loss(learner, batch, logits)
                loss = (loss if extra is None else loss + extra) * (len(part) / len(numbers))
                accelerator.backward(loss)
                total += loss.detach()
                seen += len(batch["labels"])
            accelerator.unscale_gradients(optimizer)
            strategy.before_step(learner)
            torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            strategy.after_step(learner)
            step += 1
            losses.append(total)
            if len(losses) == REPORT_EVERY or step == steps:
                report.step(step, seen - seen_before, _mean_loss(losses, step, steps_per_epoch, task.name))
                losses, seen_before = [], seen
    report.end_task()
    return seen


def _accelerator(config: RunConfig, learner: Learner) -> Accelerator:
    # accelerate keeps its precision in a global; every task starts from a clean one.
    AcceleratorState._reset_state(reset_partial_state=True)
    # The learner casts by itself, also outside training; accelerate scales fp16 gradients.
    precision = "fp16" if config.precision == "fp16" else "no"
    return Accelerator(cpu=learner.device.type == "cpu", mixed_precision=precision, device_placement=False)


def _optimizer(config: RunConfig, learner: Learner) -> torch.optim.Optimizer:
    """AdamW with the body's and the head's learning rates; no decay of biases, norms and the head.

    Without decay, rows of the output layer that get no gradient do not move.
    """
    body: list[Tensor] = []
    plain: list[Tensor] = []
    head: list[Tensor] = []
    for name, parameter in learner.named_parameters():
        group = head if learner.is_head(name) else body if parameter.ndim > 1 else plain
        group.append(parameter)
    rates = learner.learning_rates
    groups = [
        {"params": body, "lr": rates["body"], "weight_decay": config.weight_decay},
        {"params": plain, "lr": rates["body"], "weight_decay": 0.0},
        {"params": head, "lr": rates["head"], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def _schedule(config: RunConfig, steps: int) -> Callable[[int], float]:
    """The learning rate's factor: up from 0 over the warm-up, then down to 0, both linear."""
    warmup = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return factor


def _micro_batches(numbers: list[int], config: RunConfig) -> Iterator[list[int]]:
    size = -(-config.batch_size // config.accumulation)
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _mean_loss(losses: list[Tensor], step: int, steps_per_epoch: int, task: str) -> float:
    values = torch.stack(losses).float().cpu()
    bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
    if bad:
        wrong = step - len(losses) + bad[0]
        epoch, batch = wrong // steps_per_epoch + 1, wrong % steps_per_epoch + 1
        raise RunError(
            f"the loss is {values[bad[0]].item()} in task {task!r} at step {wrong + 1} (epoch {epoch}, batch {batch} of "
            f"{steps_per_epoch}); finished tasks are kept; try a smaller --lr"
        )
    return float(values.mean())
