"""Student: after each task the model is distilled into a smaller one with the texts that are kept; that one answers.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network": the student minimises
(1 − α) · H(label, q) + α · T² · KL(softmax(z / T) ‖ softmax(v / T)), z the teacher's and v the student's logits among
the candidates. The teacher is the model as the task left it: what it has forgotten the kept labels alone can tell.
"""

import inspect
from typing import Any

from torch import Tensor

from clbench import Batch, Example, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    Deployable,
    DevExamples,
    ExampleBuffer,
    Range,
    RunConfig,
    Training,
    check_memory,
    divergences,
    load_student,
    stacked,
    stored_logits,
    temporarily,
    upload,
)


class Student(Strategy):
    """The matrix is the student's; what the model itself forgets is that of the stack without it.

    Each time the student begins anew. Beside the memory, which holds the newest task's texts as well, the tasks' dev
    texts are kept: how often model and student are right on them is noted for each task, in log.jsonl too.

    Args:
        model: the student: tiny, a folder or a hub id, with the tokenizer of the run's model; of random weights where
            it is tiny.
        memory_size: texts kept: a count, or below 1 a fraction of each task's training texts.
        epochs: passes over the memory after each task; gdumb's.
        temperature: T, above 0; distillation's.
        alpha: α, 0 to 1: 0 learns the labels alone, 1 the teacher alone.
        learning_rate: peak learning rate of the student's body, above 0; None for the run's, which is a pretrained
            model's and small for a new one.

    Nothing here was tuned.
    """

    is_recipe = True
    kinds = ("text",)
    # Another's last step would leave it that step's texts alone.
    decides = ("which tasks' data a step learns from",)
    keeps_examples = True
    model_arguments = ("model",)
    search_spaces = {"temperature": Range(1.0, 8.0, log=True), "alpha": Range(0.0, 1.0)}

    def __init__(
        self,
        model: str = "tiny",
        memory_size: float = 0.1,
        epochs: int = 30,
        temperature: float = 2.0,
        alpha: float = 0.5,
        learning_rate: float | None = None,
    ) -> None:
        check_memory("student", memory_size, 1)
        if epochs < 1 or temperature <= 0 or not 0 <= alpha <= 1 or (learning_rate is not None and learning_rate <= 0):
            given = f"{epochs=}, {temperature=}, {alpha=}, {learning_rate=}"
            allowed = "epochs 1 or more, alpha 0 to 1, the others above 0"
            raise InputError(f"student: {given}; allowed: {allowed}")
        self.model, self.memory_size, self.epochs = model, memory_size, epochs
        self.temperature, self.alpha, self.learning_rate = temperature, alpha, learning_rate

    def setup(self, learner: Learner) -> None:
        """Load the student; its weights are made again from its name and the seed, and not stored before they learn."""
        if learner.padding_side != "right":
            name = type(learner.model).__name__
            raise InputError(f"student: {name} reads padding before a text; allowed: an encoder, which does not")
        longest = max(learner.longest_text or 16, 16)
        loaded = load_student(
            self.model, learner.tokenizer, len(learner.labels.names), longest, learner.seed, learner.device
        )
        self.student, self.head = loaded.model, loaded.head
        self.types = "token_type_ids" in inspect.signature(self.student.forward).parameters
        self.start = {name: value.detach().clone() for name, value in self.student.state_dict().items()}
        self.buffer = ExampleBuffer(self.memory_size, "class_balanced", learner.seed)
        self.dev = DevExamples()
        self.distilled = False

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """Note how the run trains; its steps are the engine's."""
        self.config = config.model_copy(update={"epochs": self.epochs, "min_steps": 0, "task_steps": None})
        return None

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Keep the task's share of texts, distil, and measure both models."""
        self.buffer.add(task.train)
        self.dev.keep(task)
        with learner.clock.measure("train"):
            self._distil(learner, task)
            pairs = self.dev.accuracies(learner, Strategy()), self.dev.accuracies(learner, self)
        self._tell(task, learner, *pairs)

    def _distil(self, learner: Learner, task: TaskData) -> None:
        kept = self.buffer.examples
        taught = [{**e, "logits": row} for e, row in zip(kept, stored_logits(learner, kept), strict=True)]
        # The run's, whatever the stack's own weights learn with; among all candidates, for all tasks' texts are here.
        rates = {"body": self.learning_rate or self.config.lr, "head": self.config.head_lr}
        own = {
            "model": self.student,
            "head": self.head,
            "compiled": None,
            "learning_rates": rates,
            "local_labels": False,
        }
        self.student.load_state_dict(self.start)
        with temporarily(learner, **own):
            lesson = _Lesson(learner, self.temperature, self.alpha, self.types)
            training = Training(self.config, lesson, learner, task, taught)
            training.run_all_steps()
        self.student.eval()
        self.distilled = True

    def _tell(self, task: TaskData, learner: Learner, teacher: dict[int, float], student: dict[int, float]) -> None:
        if teacher:
            mean, own = (sum(found.values()) / len(found) for found in (teacher, student))
            text = f"student: after {task.name} {own:.3f} on the tasks' dev texts, the model {mean:.3f}"
            learner.note("student", task=task.name, model=list(teacher.values()), student=list(student.values()),
                         text=text)  # fmt: skip

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """The student's answer."""
        self.student.eval()
        return learner.logits(_readable(batch, self.types), self.student)

    def deployable(self, learner: Learner, task_id: int | None) -> Deployable:
        """The student."""
        return Deployable(self.student)

    def state_dict(self) -> dict[str, Any]:
        """The texts kept, and once it has learned the student's weights."""
        weights = dict(self.student.state_dict()) if self.distilled else {}
        return {"memory": self.buffer.state_dict(), "dev": self.dev.state_dict(), "student": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.buffer.load_state_dict(state["memory"])
        self.dev.load_state_dict(state["dev"])
        self.distilled = bool(state["student"])
        self.student.load_state_dict(state["student"] or self.start)


class _Lesson(Strategy):
    """One distillation: adds to the loss what the teacher's logits, stored with the examples, say."""

    def __init__(self, learner: Learner, temperature: float, alpha: float, types: bool) -> None:
        self.learner, self.temperature, self.alpha, self.types = learner, temperature, alpha, types

    def train_batch(self, batch: Batch) -> Batch:
        examples: list[Example] = list(self.learner.new_examples)
        targets = upload(stacked([example["logits"] for example in examples]), self.learner.device)
        return {**_readable(batch, self.types), "teacher": targets}

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """What turns the engine's cross-entropy H into (1 − α) H + α T² KL."""
        softened = divergences(batch["teacher"] / self.temperature, logits / self.temperature)
        losses = self.temperature**2 * softened - learner.example_losses(logits, batch)
        return self.alpha * losses.mean()


def _readable(batch: Batch, types: bool) -> Batch:
    """``batch`` as the student reads it: without token types where it knows none."""
    return {key: value for key, value in batch.items() if types or key != "token_type_ids"}
