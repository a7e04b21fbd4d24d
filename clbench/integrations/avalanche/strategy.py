"""Any training strategy of Avalanche as a clbench strategy: ``avalanche.EWC(ewc_lambda=1000)``.

Avalanche trains (``strategy.train(experience)``, its loop and its plug-ins untouched); clbench makes the tasks, the
model, the optimizer and the measurements. The wrapper around the model is ``model.py``'s ``AvalancheModel``.
Lomonaco et al. 2021, "Avalanche: an End-to-End Library for Continual Learning".

As in clbench's own loop: the optimizer with two learning rates, its state fresh or carried, warm-up and schedule,
clipping, batch size, epochs, autocast, the loss among the same candidate labels. What differs:

- the order of examples is Avalanche's, shuffled evenly and without regard to length, so batches hold more padding;
  in the setting ``task`` a batch that mixes tasks holds the same number of each;
- ``accumulation``, ``steps`` and precision fp16 are refused, ``auto_batch`` does nothing, ``compile`` is for
  evaluation only;
- ER_ACE and DER score all labels of the scenario where they use a loss of their own; MER steps by itself, so that it
  has neither the schedule nor the clipping;
- an interrupt is heeded after the task, and an interrupted run starts again: Avalanche's plug-ins cannot be saved
  otherwise than pickled;
- SynapticIntelligence keeps copies of the weights, which Avalanche 0.6 forgets to make on a CPU: without them its
  penalty is 0 for any lambda;
- Fisher and other importances count as training time.
"""

from __future__ import annotations

import hashlib
import inspect
import typing
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from clbench.errors import ClbenchError, InputError, RunError
from clbench.integrations.avalanche import catalogue
from clbench.models import exhaustion_told
from clbench.plugins import Description, check_arguments, code_hash
from clbench.rng import stream_seed
from clbench.strategy import Strategy

if TYPE_CHECKING:
    from clbench.config import RunConfig
    from clbench.data import TaskData
    from clbench.learner import Learner


class AvalancheStrategy(Strategy):
    """A strategy of Avalanche's.

    Args:
        cls: its class.
        arguments: the keywords that are the user's to set.
    """

    alone: ClassVar[str] = "Avalanche runs a training loop of its own"
    kinds = ("text", "image")
    accumulates = False
    counts_steps = False
    resumable = False

    def __init__(self, cls: type[Any], arguments: dict[str, Any]) -> None:
        self.cls, self.arguments = cls, arguments
        self.inner: Any = None
        linear = nn.Linear(1, 1)
        try:  # what its constructor refuses is told before a model is loaded
            self._construct(model=linear, optimizer=torch.optim.AdamW(linear.parameters()), criterion=nn.MSELoss())
        except (AssertionError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise InputError(f"avalanche.{cls.__name__} refuses {arguments}: {error}") from error

    @property
    def carries_optimizer(self) -> bool:
        """One optimizer makes all steps; its state is emptied where it is to be fresh."""
        return True

    def setup(self, learner: Learner) -> None:
        """Refuse what Avalanche's loop cannot do."""
        if learner.precision == "fp16":
            raise InputError("precision 'fp16' is not for Avalanche's strategies: they do not scale gradients; "
                             "allowed: fp32, bf16")  # fmt: skip
        if learner.padding_side == "left":
            name = type(learner.model).__name__
            raise InputError(f"{name} reads padding on the left, where Avalanche's loop does not put it")
        if learner.labels.setting == "task" and learner.labels.shares_columns:
            raise InputError("Avalanche's strategies tell the task by the label, which tasks that share labels do not "
                             "allow in setting 'task'; allowed: domain")  # fmt: skip

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int:
        """Let Avalanche train on ``task``; the examples of all batches that its loop formed.

        Raises:
            RunError: Avalanche failed, memory is exhausted, or the loss is not a number.
        """
        from clbench.integrations.avalanche.benchmark import make_experience
        from clbench.integrations.avalanche.recipe import seeded, weights_copied, without_retirements

        if self.inner is None:
            self._start(learner, config)
        if config.optimizer_state == "fresh":
            self.inner.optimizer.state.clear()
        self.inner.train_epochs = config.epochs_of(len(task.train))
        experience = make_experience(task.train, task.position, learner.labels, config.max_length)
        seed = stream_seed(config.seed, "avalanche", task.name)
        remedy = f"try --batch-size {max(1, config.batch_size // 2)}"
        try:
            with (
                exhaustion_told(learner.device, f"in task {task.name!r}", remedy),
                seeded(seed, learner.device),
                without_retirements(),
                weights_copied(),
            ):
                self.inner.train(experience, eval_streams=[])
        except ClbenchError:
            raise
        except Exception as error:
            name = f"avalanche.{self.cls.__name__}"
            raise RunError(f"{name} failed in task {task.name!r}: {type(error).__name__}: {error}") from error
        self._take_weights(learner)
        return int(self.recipe.seen)

    def state_dict(self) -> dict[str, Any]:
        """Every tensor that Avalanche keeps for later tasks, for the run's ``stored_bytes``; it cannot be loaded."""
        from clbench.integrations.avalanche.recipe import kept_tensors

        return {} if self.inner is None else {"tensors": kept_tensors(self.inner)}

    def _start(self, learner: Learner, config: RunConfig) -> None:
        """Construct Avalanche's strategy around the learner's model."""
        from clbench.integrations.avalanche.model import CandidateCrossEntropy, wrap
        from clbench.integrations.avalanche.recipe import Recipe
        from clbench.toolkit import make_optimizer, parameter_groups

        model = wrap(learner)
        # Frozen parameters too: Avalanche adds each one that it does not find to a group of its own choice.
        groups = parameter_groups(model.named_parameters(), learner.learning_rates, config.weight_decay, learner.head)
        optimizer = make_optimizer(config, groups)
        self.recipe = Recipe(optimizer, config.warmup, config.max_grad_norm, config.schedule)
        self.inner = self._construct(
            model=model,
            optimizer=optimizer,
            criterion=CandidateCrossEntropy(learner),
            train_mb_size=config.batch_size,
            train_epochs=config.epochs,
            device=learner.device,
            plugins=[self.recipe],
        )

    def _construct(self, **supplied: Any) -> Any:
        if "reset_optimizer" in inspect.signature(self.cls.__init__).parameters:
            supplied["reset_optimizer"] = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.cls(**supplied, evaluator=None, **self.arguments)

    def _take_weights(self, learner: Learner) -> None:
        """Some strategies train copies of the model (GDumb a fresh one every task); clbench evaluates its own."""
        trained = self.inner.model.network
        if trained is not learner.model:
            learner.model.load_state_dict(trained.state_dict())


def load(name: str) -> type[AvalancheStrategy]:
    """The kind of strategy that ``avalanche.NAME`` is.

    Raises:
        InputError: Avalanche is not installed, or has no such strategy that clbench can run.
    """
    catalogue.find_strategy(name)
    return AvalancheStrategy


def build(name: str, arguments: dict[str, Any]) -> AvalancheStrategy:
    """``avalanche.NAME`` with ``arguments``, checked against its constructor.

    Raises:
        InputError: an unknown name or argument, one that clbench sets itself, or a value of the wrong type.
    """
    cls, label = catalogue.find_strategy(name), f"avalanche.{name}"
    own = catalogue.own_parameters(cls)
    for key in arguments:
        if key in catalogue.SUPPLIED:
            allowed = ", ".join(p.name for p in own) or "none"
            how = catalogue.SUPPLIED[key]
            raise InputError(f"argument {key!r} of {label} is set by clbench ({how}); allowed: {allowed}")
    check_arguments(label, own, typing.get_type_hints(cls.__init__), arguments)
    return AvalancheStrategy(cls, arguments)


def describe(name: str) -> Description:
    """What ``clbench describe avalanche.NAME`` prints."""
    cls = catalogue.find_strategy(name)
    doc = f"{name} of Avalanche {catalogue.avalanche_version()}.\n\n{catalogue.documentation(cls)}"
    told = {"settings": AvalancheStrategy.settings}
    return Description(f"avalanche.{name}", Path(__file__), doc, "", catalogue.described_parameters(cls), told)


def source_hash() -> str:
    """SHA-256 of Avalanche's version and of the code of this integration."""
    digest = hashlib.sha256(f"{catalogue.PACKAGE}=={catalogue.avalanche_version()}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(code_hash(path.read_text("utf-8")).encode())
    return digest.hexdigest()
