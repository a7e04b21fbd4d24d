"""What goes wrong inside a Trainer is told in one line, and what learns otherwise is another run."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import BertForSequenceClassification

from clbench.cli import main
from clbench.clock import Clock
from clbench.config import identity
from clbench.engine.preparation import Prepared, prepare
from clbench.errors import RunError
from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.arguments import learning_arguments
from clbench.integrations.trainer.contents import config_hash, start_hashes
from clbench.plugins.plan import make_plan
from clbench.results import find_runs
from tests.helpers import slow, weights
from tests.integrations.test_trainer import OPTIONS, Rows, in_trainer, line, make_trainer, with_lora

SGD: dict[str, Any] = {"optim": "sgd", "num_train_epochs": 1}


def make_prepared(folder: Path) -> Prepared:
    return prepare(make_plan({**OPTIONS, "setting": "domain", "strategy": "naive", "output_dir": str(folder)}), Clock())


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return make_prepared(tmp_path)


class Act(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types for it
    """Does something after a step."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def attached(prepared: Prepared, folder: Path, strategy: str = "naive", trainer: Any = None) -> Any:
    """The learning and its Trainer, attached to the first task."""
    learning = ContinualLearning(strategy, str(folder / "out"))
    trainer = trainer or make_trainer(prepared, 0, folder, ordered=False, **SGD)
    learning.attach(trainer, task="one", test=Rows(prepared.tests[0]))
    return learning, trainer


def other_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    return nn.functional.cross_entropy(outputs["logits"], labels, reduction="sum") / num_items_in_batch / 2


def another_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    return nn.functional.cross_entropy(outputs["logits"], labels, reduction="sum") / num_items_in_batch / 4


def loss_with(outputs: Any, labels: Any, num_items_in_batch: Any = None, divisor: int = 1) -> Any:
    return other_loss(outputs, labels, num_items_in_batch) / divisor


def within(divisor: int) -> Any:
    return lambda outputs, labels, count=None: other_loss(outputs, labels, count) / divisor


class Divided:
    """A loss that is an object, as of a module's."""

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        return loss_with(outputs, labels, num_items_in_batch, self.divisor)


def test_what_learns_otherwise_has_arguments_of_its_own(prepared: Prepared, tmp_path: Path) -> None:
    """bf16, the order's seed, an optimizer, its rates, a schedule, a loss, a method: no two are the same."""

    def made(own: type = transformers.Trainer, optimizers: Any = (None, None), **more: Any) -> dict[str, Any]:
        trainer = make_trainer(prepared, 0, tmp_path, ordered=False, **{"seed": 3, **more})
        loss = trainer.compute_loss_func
        trainer = own(prepared.learner.model, trainer.args, compute_loss_func=loss, optimizers=optimizers)
        return learning_arguments(trainer, 3)

    class Shuffled(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return None

    weights: list[Any] = list(prepared.learner.model.parameters())
    half = len(weights) // 2
    one, two = (torch.optim.SGD(weights, rate, momentum=0.5) for rate in (0.1, 0.2))
    groups: list[Any] = [{"params": weights[:half]}, {"params": weights[half:], "lr": 0.1}]
    grouped = torch.optim.SGD(groups, 0.2, momentum=0.5)
    adam = torch.optim.Adam(weights, 0.1)
    found = [
        *(made(), made(bf16=True), made(seed=4), made(data_seed=4), made(learning_rate=0.5)),
        *(made(optimizers=(each, None)) for each in (one, two, grouped, adam)),
        made(optimizers=(one, torch.optim.lr_scheduler.ConstantLR(one))),
        *(
            made(compute_loss_func=each)
            for each in (other_loss, another_loss, partial(other_loss), within(1), within(2))
        ),
        *(made(compute_loss_func=partial(loss_with, divisor=divisor)) for divisor in (2, 4)),
        *(made(compute_loss_func=Divided(divisor)) for divisor in (2, 4)),
        *(made(max_grad_norm=math.inf), made(optim_target_modules=("query", "value"))),
        made(Shuffled),
    ]
    plain = make_trainer(prepared, 0, tmp_path, ordered=False, seed=3)
    plain.compute_loss = within(3)
    found.append(learning_arguments(plain, 3))
    prepared.learner.model.__class__ = Loud
    found.append(made())
    prepared.learner.model.__class__ = BertForSequenceClassification
    assert [one for number, one in enumerate(found) if one in found[:number]] == []
    assert found[0] == made()
    assert identity({"arguments": found})  # all of it can be written
    assert found[5]["optimizer"]["groups"][0]["lr"] == 0.1
    assert [group["parameters"] for group in found[7]["optimizer"]["groups"]] == [half, len(weights) - half]


def test_a_config_that_learns_otherwise_is_another_run(prepared: Prepared) -> None:
    """Dropout and LoRA's alpha change no starting weight."""
    model: Any = prepared.learner.model
    first = start_hashes(model)
    model.config.attention_probs_dropout_prob = 0.3
    other = start_hashes(model)
    assert first["start_sha256"] == other["start_sha256"]
    assert first["model_config_sha256"] != other["model_config_sha256"]
    lora = with_lora(model)
    before = config_hash(lora)
    assert before == config_hash(lora)
    lora.peft_config["default"].lora_alpha = 99
    assert config_hash(lora) != before


@pytest.mark.slow
def test_frozen_weights_are_another_run(tmp_path: Path) -> None:
    def frozen(model: Any) -> Any:
        model.base_model.embeddings.requires_grad_(False)
        return model

    folders = [
        in_trainer("naive", tmp_path, "domain", wrap, max_steps=1)[0]["folder"] for wrap in (frozen, lambda m: m)
    ]
    assert len({*folders}) == len(find_runs([tmp_path / "out"])[0]) == 2


def test_ended_tasks_go_on_with_their_own_model(tmp_path: Path) -> None:
    """A head may be drawn anew, for it was learned and is kept; weights that were frozen may not be others."""

    def begin(change: Any = None) -> None:
        prepared = make_prepared(tmp_path)
        model: Any = prepared.learner.model
        model.base_model.embeddings.requires_grad_(False)
        if change is not None:
            with torch.no_grad():
                change(model)
        learning = ContinualLearning("naive", str(tmp_path / "out"), state_dir=str(tmp_path / "state"))
        trainer = make_trainer(prepared, 0, tmp_path, ordered=False, max_steps=1)
        learning.attach(trainer, task="one", test=Rows(prepared.tests[0]))
        trainer.train()
        learning.end_task(trainer)

    def shift_embeddings(model: Any) -> None:
        next(model.base_model.embeddings.parameters())[0] += 0.5

    def shift_head(model: Any) -> None:
        model.classifier.weight += 0.5

    def widen(model: Any) -> None:
        model.classifier.bias = nn.Parameter(torch.zeros(9))

    begin()
    begin(shift_head)
    assert "the Trainer's model has other weights where none was learned" in line(lambda: begin(shift_embeddings))
    assert "the Trainer's model has no 'classifier.bias' of that size" in line(lambda: begin(widen))


def test_numbers_that_are_none_end_the_run(prepared: Prepared, tmp_path: Path) -> None:
    """A loss is found at the epoch's end, a weight that the last step spoilt before anything is measured."""
    learning, trainer = attached(
        prepared, tmp_path, trainer=make_trainer(prepared, 0, tmp_path, **SGD, learning_rate=1e30, max_grad_norm=0)
    )
    with pytest.raises(RunError, match=r"the loss is (nan|inf) in task 'one' at step \d; what state_dir has"):
        trainer.train()
    assert "was broken off" in line(lambda: learning.end_task(trainer))

    prepared = make_prepared(tmp_path)
    learning, trainer = attached(prepared, tmp_path)
    weight: Any = next(prepared.learner.model.parameters())
    trainer.add_callback(Act(4, lambda: weight.data[0].fill_(math.nan)))  # the last step
    with pytest.raises(RunError, match="a weight is no finite number in task 'one' after step 4"):
        trainer.train()
    assert "was broken off" in line(lambda: learning.end_task(trainer))
    assert not (tmp_path / "out").exists()


def test_answers_that_are_no_numbers_are_no_row(prepared: Prepared, tmp_path: Path) -> None:
    """A buffer does not learn, and can still be spoilt."""
    learning, trainer = attached(prepared, tmp_path)
    trainer.train()
    head: Any = prepared.learner.model.classifier
    head.register_forward_hook(lambda *given: given[-1] * math.nan)
    with pytest.raises(RunError, match="after task 'one' the model's answers are no numbers"):
        learning.end_task(trainer)
    for call in (lambda: learning.end_task(trainer), learning.result):
        assert "end_task() of task 'one' was broken off" in line(call)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_task_says_how_to_go_on(prepared: Prepared, tmp_path: Path) -> None:
    """In a notebook, where the objects outlive Ctrl-C."""
    learning, trainer = attached(prepared, tmp_path)
    trainer.add_callback(Act(2, interrupt))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    said = "train() of task 'one' was broken off after 2 steps; allowed: the script again"
    other = make_trainer(prepared, 0, tmp_path)
    for call in (
        trainer.train,
        lambda: learning.end_task(trainer),
        lambda: learning.attach(other, task="one", test=Rows(prepared.tests[0])),
        learning.result,
    ):
        assert said in line(call)


def test_one_trainer_has_one_continual_learning(prepared: Prepared, tmp_path: Path) -> None:
    learning, trainer = attached(prepared, tmp_path)
    assert "the Trainer is attached already" in line(lambda: attached(prepared, tmp_path, trainer=trainer))
    trainer.train()
    learning.end_task(trainer)


def test_what_was_refused_can_be_mended_and_tried_again(prepared: Prepared, tmp_path: Path) -> None:
    """In a notebook: the refused task leaves no trace, and so the labels of none."""
    model = prepared.learner.model
    plain = make_trainer(prepared, 0, tmp_path, ordered=False, **SGD)
    own = transformers.Trainer(
        model,
        plain.args,
        train_dataset=plain.train_dataset,
        processing_class=plain.processing_class,
        optimizers=(torch.optim.SGD(model.parameters(), 0.1), None),
    )
    learning = ContinualLearning("freeze", str(tmp_path / "out"), setting="task")
    test = Rows(prepared.tests[0])
    assert "the Trainer's optimizer is made already" in line(lambda: learning.attach(own, task="one", test=test))
    learning.attach(plain, task="one", test=test)
    plain.train()
    assert len(learning.end_task(plain)) == 1
    assert learning.learner is not None
    assert len(learning.learner.labels.columns) == learning.learner.tasks == 1


class Loud(BertForSequenceClassification):  # type: ignore[misc]
    """A loss of its own, ten times as large."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None) -> Any:
        answered = super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
        if labels is not None:
            answered.loss *= 10
        return answered


def test_a_models_own_loss_stays(tmp_path: Path) -> None:
    """By SGD, which moves ten times as far: as the Trainer does alone; as a method of the object, too."""
    ends = []
    for attach, in_object in ((False, False), (True, False), (True, True)):
        prepared = make_prepared(tmp_path)
        model: Any = prepared.learner.model
        if not in_object:
            model.__class__ = Loud
        trainer = make_trainer(prepared, 0, tmp_path, ordered=False, **SGD)
        if in_object:
            plain = trainer.compute_loss
            trainer.compute_loss = lambda *given, plain=plain, **more: 10 * plain(*given, **more)
        if attach:
            learning = ContinualLearning("naive", str(tmp_path / "out"))
            learning.attach(trainer, task="one", test=Rows(prepared.tests[0]))
        trainer.train()
        ends.append(weights(prepared.learner))
    for name, value in ends[0].items():
        assert torch.allclose(ends[1][name], value, atol=1e-6)
        assert torch.allclose(ends[2][name], value, atol=1e-6)


class Masking(transformers.Trainer):  # type: ignore[misc]
    """Changes what it has read."""

    def _prepare_inputs(self, inputs: Any) -> Any:
        return {**inputs, "input_ids": inputs["input_ids"].flip(1)}


def test_batches_that_are_changed_later_are_refused(prepared: Prepared, tmp_path: Path) -> None:
    _, trainer = attached(prepared, tmp_path, "replay", of_class(Masking, prepared, tmp_path))
    assert "Masking changes 'input_ids' of a batch after its data loader" in line(trainer.train)


def test_what_does_not_fit_a_kept_state_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    """An optimizer that outlives a task; the best weights beside what has counted all steps."""
    model = prepared.learner.model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    plain = make_trainer(prepared, 0, tmp_path, ordered=False, **SGD)
    given = {"train_dataset": plain.train_dataset, "processing_class": plain.processing_class}
    learning = ContinualLearning("naive", str(tmp_path / "out"), state_dir=str(tmp_path / "state"))
    for position, task in enumerate(("one", "two")):
        trainer = transformers.Trainer(model, plain.args, optimizers=(optimizer, None), **given)
        if position:
            said = line(lambda t=trainer: learning.attach(t, task="two", test=Rows(prepared.tests[0])))
            assert "the Trainer's optimizer has learned already" in said
            break
        learning.attach(trainer, task=task, test=Rows(prepared.tests[0]))
        trainer.train()
        learning.end_task(trainer)
    best: dict[str, Any] = {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "eval_dataset": True,
        "load_best_model_at_end": True,
    }
    best_trainer = make_trainer(make_prepared(tmp_path), 0, tmp_path, **best)
    said = line(lambda: attached(prepared, tmp_path, "ewc+si", best_trainer))
    assert "load_best_model_at_end = True undoes steps that 'si' has counted" in said


def test_a_checkpoint_of_the_last_step_is_passed_over(prepared: Prepared, tmp_path: Path) -> None:
    """4 steps an epoch and 6 in all: from checkpoint-6 a Trainer would take a seventh."""
    saving = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    _, trainer = attached(prepared, tmp_path, trainer=make_trainer(prepared, 0, tmp_path, ordered=False, **saving))
    trainer.train()
    again, other = attached(
        make_prepared(tmp_path),
        tmp_path,
        trainer=make_trainer(make_prepared(tmp_path), 0, tmp_path, ordered=False, **saving),
    )
    assert Path(again.checkpoint(other)).name == "checkpoint-4"
    last = str(Path(again.checkpoint(other)).parent / "checkpoint-6")
    assert "is of the last step" in line(lambda: other.train(resume_from_checkpoint=last))
    assert other.train(resume_from_checkpoint=again.checkpoint(other)).global_step == 6


def test_what_is_no_number_has_no_state_to_go_on_from(prepared: Prepared, tmp_path: Path) -> None:
    saving = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1, "learning_rate": 1e30, "max_grad_norm": 0}
    learning, trainer = attached(
        prepared, tmp_path, trainer=make_trainer(prepared, 0, tmp_path, ordered=False, **{**SGD, **saving})
    )
    with pytest.raises(RunError, match=r"no finite number|the loss is"):
        trainer.train()
    assert Path(learning.checkpoint(trainer)).name == "checkpoint-1"  # whose weights are large, but numbers


class Lonely(transformers.Trainer):  # type: ignore[misc]
    """Learns by itself."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = model(**inputs).loss
        self.accelerator.backward(loss)
        return loss.detach()


class Counting(transformers.Trainer):  # type: ignore[misc]
    """Learns as all do, and counts."""

    steps = 0

    def training_step(self, *args: Any, **keywords: Any) -> Any:
        self.steps += 1
        return super().training_step(*args, **keywords)


class Bare(transformers.Trainer):  # type: ignore[misc]
    """A loss, whatever is asked for."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return 2 * model(**inputs).loss


class Tupled(Bare):
    """As a model with ``return_dict=False`` answers."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss = super().compute_loss(model, inputs)
        return (loss, (loss.detach(),)) if return_outputs else loss


def of_class(cls: type, prepared: Prepared, folder: Path) -> Any:
    plain = make_trainer(prepared, 0, folder, ordered=False, **SGD)
    return cls(prepared.learner.model, plain.args, train_dataset=plain.train_dataset,
               processing_class=plain.processing_class)  # fmt: skip


def test_a_step_of_ones_own_asks_for_its_loss(prepared: Prepared, tmp_path: Path) -> None:
    _, trainer = attached(prepared, tmp_path, "replay", of_class(Lonely, prepared, tmp_path))
    assert "Lonely.training_step does not ask compute_loss for the loss of each batch" in line(trainer.train)
    prepared = make_prepared(tmp_path)
    _, trainer = attached(prepared, tmp_path, "replay", of_class(Counting, prepared, tmp_path))
    assert trainer.train().global_step == trainer.steps == 4


@pytest.mark.parametrize(("cls", "found"), [(Bare, "NoneType"), slow(Tupled, "tuple")])
def test_a_loss_without_scores_does_where_no_strategy_adds_to_it(cls: type, found: str, tmp_path: Path) -> None:
    prepared = make_prepared(tmp_path)
    learning, trainer = attached(prepared, tmp_path, "naive", of_class(cls, prepared, tmp_path))
    trainer.train()
    assert learning.hooks.losses[0].item() == pytest.approx(2 * math.log(3), rel=0.2)
    prepared = make_prepared(tmp_path)
    _, trainer = attached(prepared, tmp_path, "distillation", of_class(cls, prepared, tmp_path))
    said = line(trainer.train)
    assert f"{cls.__name__}.compute_loss with return_outputs=True gives {found}, and the strategy adds" in said


def test_what_is_not_learned_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a run: nothing is learned with a rate of almost nothing."""
    result = in_trainer("naive", tmp_path, "task", learning_rate=1e-12)[0]
    shares = [f"{score:.3f}" for score in (result["accuracy_matrix"][1][0], result["accuracy_matrix"][2][1])]
    texts = [
        f"{task} was not learned: accuracy {score}, 0.333 with always the same answer; try more epochs or another "
        "learning_rate"
        for task, score in zip(result["tasks"], shares, strict=True)
    ]
    assert result["learning_warnings"] == caplog.messages == texts
    assert main(["compare", str(tmp_path / "out")]) == 0
    told = "not learned, no better than with always the same answer: 2 of 2 tasks (naive)"
    assert told in " ".join(capsys.readouterr().out.split())
