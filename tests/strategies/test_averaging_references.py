"""Averages and interpolations by hand, the reference strategies' tasks and frozen parts, and the alarm's share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench import plugins
from clbench.data import Example, TaskData
from clbench.engine.checkpoint import tensor_bytes
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.strategy import Strategy
from clbench.toolkit.dev_examples import DevExamples
from tests.helpers import Examples, MakeLearner, slow, strategy, task_data, watched


def image(value: float, label: int, task: int) -> Example:
    return {"pixel_values": torch.tensor([[[value]]]), "label": label, "task_id": task}


class OneWeight(nn.Module):
    """Logits of an image of one pixel x: 0 for even labels, w − x for odd ones."""

    def __init__(self, labels: int = 4) -> None:
        super().__init__()
        self.body = nn.Parameter(torch.tensor(0.0))
        self.labels = labels

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=(self.body - pixel_values.flatten(1)) * (torch.arange(self.labels) % 2))


def move(learner: Learner, strategy: Any, value: float) -> None:
    """A step that ends at ``value``."""
    strategy.before_step(learner)
    learner.model.get_parameter("body").data.fill_(value)
    strategy.after_step(learner)


def body(learner: Learner) -> float:
    return float(learner.model.get_parameter("body").detach())


# --- EMA


@pytest.mark.parametrize(("next_task", "start"), [("live", 4.0), ("average", 2.5)])
def test_ema_by_hand(make_learner: MakeLearner, next_task: str, start: float) -> None:
    learner = make_learner(model=OneWeight())
    ema = strategy("ema", learner, decay=0.5, next_task=next_task)
    ema.before_task(learner, task_data(learner, 0))
    for value in (2.0, 4.0):
        move(learner, ema, value)
    ema.after_task(learner, task_data(learner, 0))
    # ½ · 0 + ½ · 2 = 1; ½ · 1 + ½ · 4 = 2.5: this answers.
    assert body(learner) == 2.5
    ema.before_task(learner, task_data(learner, 1))
    assert body(learner) == start
    move(learner, ema, 6.5)
    ema.after_task(learner, task_data(learner, 1))
    assert body(learner) == 4.5


def test_an_interrupted_average_goes_on_as_it_was(make_learner: MakeLearner) -> None:
    """Between tasks the live weights come back, inside one the average."""
    learner = make_learner(model=OneWeight())
    one = strategy("ema", learner, decay=0.5)
    one.before_task(learner, task_data(learner, 0))
    move(learner, one, 4.0)
    inside = {name: {k: v.clone() for k, v in part.items()} for name, part in one.state_dict().items()}
    one.after_task(learner, task_data(learner, 0))
    other = strategy("ema", learner, decay=0.5)
    other.load_state_dict(one.state_dict())
    other.before_task(learner, task_data(learner, 1))
    assert body(learner) == 4.0
    other.load_state_dict(inside)
    move(learner, other, 4.0)
    other.after_task(learner, task_data(learner, 0))
    assert body(learner) == 3.0


def test_a_decay_of_0_averages_nothing(make_learner: MakeLearner) -> None:
    learner = make_learner(model=OneWeight())
    ema = strategy("ema", learner, decay=0.0)
    ema.before_task(learner, task_data(learner, 0))
    move(learner, ema, 3.25)
    ema.after_task(learner, task_data(learner, 0))
    assert body(learner) == 3.25


# --- WiSE-FT


def test_wise_interpolates_exactly(make_learner: MakeLearner) -> None:
    learner = make_learner()
    wise = strategy("wise", learner, coefficient=0.25)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    wise.before_task(learner, task_data(learner, 0))
    with torch.no_grad():
        for number, (_, parameter) in enumerate(learner.named_parameters()):
            parameter.add_(4.0 * (number + 1))
    wise.after_task(learner, task_data(learner, 0))
    for number, (name, parameter) in enumerate(learner.named_parameters()):
        torch.testing.assert_close(parameter.detach(), before[name] + number + 1, rtol=1e-6, atol=1e-5)
    # Nothing is kept between tasks.
    assert tensor_bytes(wise.state_dict()["before"]) == 0


@pytest.mark.parametrize(
    ("threshold", "chosen", "accuracy"),
    [
        # The task moves w from 0 to 10. Old examples are right while w stays below 5, new ones once it is above.
        (3.0, 0.4, 1.0),
        # Nothing satisfies both: an old one more is lost or a new one more; of equals the larger coefficient.
        (7.0, 1.0, 0.5),
    ],
)
def test_wises_coefficient_is_the_best_on_dev(
    make_learner: MakeLearner, threshold: float, chosen: float, accuracy: float
) -> None:
    learner = make_learner(model=OneWeight())
    wise = strategy("wise", learner)
    old, new = image(5.0, 0, 0), image(threshold, 3, 1)
    wise.before_task(learner, task_data(learner, 0, dev=[old]))
    wise.after_task(learner, task_data(learner, 0, dev=[old]))
    learner.take_events()
    wise.before_task(learner, task_data(learner, 1, dev=[new]))
    learner.model.get_parameter("body").data.fill_(10.0)
    wise.after_task(learner, task_data(learner, 1, dev=[new]))
    assert body(learner) == pytest.approx(10 * chosen)
    assert learner.take_events() == [
        {"event": "interpolation", "task": "task 1", "coefficient": chosen, "mean_dev_accuracy": accuracy}
    ]


def test_wise_needs_dev_examples_to_choose(make_learner: MakeLearner) -> None:
    learner = make_learner(model=OneWeight())
    with pytest.raises(InputError, match="needs dev examples and task 'task 0' has none; allowed: 0 to 1"):
        strategy("wise", learner).before_task(learner, task_data(learner, 0))


# --- dev examples


def test_dev_examples_are_measured_task_by_task_and_come_back(make_learner: MakeLearner) -> None:
    learner = make_learner(model=OneWeight())
    learner.model.train()
    dev, again = DevExamples(), DevExamples()
    dev.keep(task_data(learner, 0, dev=[image(-1.0, 1, 0), image(1.0, 1, 0), image(2.0, 0, 0)]))
    dev.keep(task_data(learner, 1, dev=[image(1.0, 3, 1)]))
    again.load_state_dict(dev.state_dict())
    for kept in (dev, again):
        assert kept.accuracies(learner, Strategy()) == {0: pytest.approx(2 / 3), 1: 0.0}
    assert learner.model.training


# --- alarm

CURVE = (
    # Accuracy of task 0 after each task; the threshold is ½ of 0.8. Share of the next task.
    (0.8, 4),
    (0.39, 8),
    (0.2, 16),
    (0.1, 20),
    (0.0, 20),
    (0.4, 10),
    (0.7, 5),
    (0.9, 4),
    (0.9, 4),
)


class Measured:
    """Stands for the dev examples: each learned task's accuracy as given; later tasks keep theirs."""

    def __init__(self) -> None:
        self.tasks: list[int] = []

    def keep(self, task: TaskData) -> None:
        self.tasks.append(task.position)

    def accuracies(self, learner: Learner, strategy: Strategy) -> dict[int, float]:
        return {task: CURVE[len(self.tasks) - 1][0] if task == 0 else 0.6 for task in self.tasks}


def test_the_alarms_share_by_hand(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("domain", tasks=len(CURVE))
    alarm = strategy("alarm", learner, threshold=0.5, memory_size=100, replay_batch_size=4, most=20)
    alarm.dev = Measured()
    batch = learner.collate(make_examples(learner.labels, 3))
    shares, events = [], []
    for position in range(len(CURVE)):
        train = make_examples(learner.labels, 30, task=position)
        alarm.before_task(learner, task_data(learner, position, train))
        alarm.after_task(learner, task_data(learner, position, train))
        shares.append(len(alarm.train_batch(batch)["labels"]) - 3)
        events += learner.take_events()
    assert shares == [share for _, share in CURVE]
    changes = [("alarm", 8), ("alarm", 16), ("alarm", 20), ("recovered", 10), ("recovered", 5), ("recovered", 4)]
    assert [(event["event"], event["replay_batch_size"]) for event in events] == changes
    assert events[0]["forgotten"] == {"task 0": {"now": 0.39, "learned": 0.8}}
    assert events[3]["forgotten"] == {}


def test_the_alarms_state_comes_back(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("domain", tasks=3)
    one, other = (strategy("alarm", learner, threshold=1.0, memory_size=50) for _ in range(2))
    dev, flipped = make_examples(learner.labels, 8), make_examples(learner.labels, 8, task=1)
    one.after_task(learner, task_data(learner, 0, make_examples(learner.labels, 40), dev))
    one.learned["0"] = 2.0
    one.after_task(learner, task_data(learner, 1, make_examples(learner.labels, 40, task=1), flipped))
    assert one.share == 32
    other.load_state_dict(one.state_dict())
    assert (other.share, other.learned, other.names) == (32, one.learned, {"0": "task 0", "1": "task 1"})
    batch = learner.collate(dev)
    mine, theirs = one.train_batch(batch), other.train_batch(batch)
    assert len(mine["labels"]) == 8 + 32
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert other.dev.accuracies(learner, other) == one.dev.accuracies(learner, one)


def test_the_alarm_replays_no_dev_example(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("domain")
    alarm = strategy("alarm", learner, memory_size=50)
    train, dev = make_examples(learner.labels, 20), make_examples(learner.labels, 20, seed=1)
    alarm.after_task(learner, task_data(learner, 0, train, dev))
    # A remembered example has its stored distribution beside it; the text is the same object.
    assert {id(example["input_ids"]) for example in alarm.remedy.buffer.examples} <= {id(e["input_ids"]) for e in train}


def test_an_alarm_stands_in_the_log(run_toy: Callable[..., Any]) -> None:
    """Toy's tasks contradict each other, so that with shared labels the first ones lose."""
    _, folder = run_toy("alarm(threshold=1.0, replay_batch_size=1, most=4)", setting="domain", epochs=4)
    lines = [json.loads(line) for line in (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    alarms = [line for line in lines if line["event"] == "alarm"]
    assert alarms[0]["replay_batch_size"] == 2
    assert alarms[0]["after_task"] in (2, 3)
    assert alarms[0]["forgotten"]
    assert all(accuracy["now"] < accuracy["learned"] for accuracy in alarms[0]["forgotten"].values())


# --- references


def test_cumulatives_tasks() -> None:
    cumulative = strategy("cumulative")
    assert [list(cumulative.training_tasks(position, 4)) for position in range(4)] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3],
    ]  # fmt: skip


def test_cumulative_sees_all_data_so_far(tmp_path: Path) -> None:
    result, _, _ = watched("cumulative", tmp_path, epochs=4)
    assert result["cost"]["examples_seen"] == 4 * (60 + 120 + 180)
    assert None not in result["accuracy_matrix"][2]


@pytest.mark.parametrize("setting", ["task", "class"])
@pytest.mark.parametrize("head", ["cosine", "linear"])
def test_seq_stars_frozen_parts_do_not_move(tmp_path: Path, setting: str, head: str) -> None:
    result, seen, _ = watched(f"seq_star(head={head!r})", tmp_path, epochs=4, setting=setting)
    first, *later = seen.after
    rows = first["classifier.weight"]
    names = [name for name in first if not name.startswith("classifier")]
    assert len(names) > 30
    for position, after in enumerate(later, start=1):
        assert all(torch.equal(first[name], after[name]) for name in names)
        before, now = seen.after[position - 1], after
        for parameter in ["classifier.weight"] + (["classifier.bias"] if head == "linear" else []):
            moved = [not torch.equal(before[parameter][row], now[parameter][row]) for row in range(len(rows))]
            assert moved == [row // 3 == position for row in range(len(rows))]
    if head == "cosine":
        assert seen.after[-1]["classifier.bias"].tolist() == [0.0] * 9
    if setting == "task":
        assert result["metrics"]["forgetting"] == 0.0
    assert result["metrics"]["learning_accuracy"] is not None


def test_seq_stars_head_is_a_cosine(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("class")
    learner.model.get_parameter("classifier.bias").data.fill_(5.0)
    batch = learner.collate(make_examples(learner.labels, 5))
    before = learner.model.get_parameter("classifier.weight")
    strategy("seq_star", learner, scale=7.0)
    assert learner.model.get_parameter("classifier.weight") is before
    logits, features = learner.logits_and_features(batch)
    expected = [
        [7.0 * float(torch.dot(f, w) / (f.square().sum() * w.square().sum()).sqrt()) for w in before.detach()]
        for f in features.detach()
    ]
    torch.testing.assert_close(logits.detach(), torch.tensor(expected), rtol=1e-4, atol=1e-5)


# --- what is refused


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("ema", {"decay": 1.0}, "ema: decay=1.0; allowed: 0 to below 1"),
        ("wise", {"coefficient": 1.5}, "wise: coefficient=1.5; allowed: 0 to 1, or None to choose it on dev"),
        ("seq_star", {"scale": 0.0}, "seq_star: scale=0.0; allowed: above 0"),
        (
            "alarm",
            {"threshold": 0.0},
            "alarm: threshold=0.0, replay_batch_size=16, most=128; allowed: threshold above 0 to 1, most "
            "replay_batch_size or more",
        ),
        (
            "alarm",
            {"most": 8},
            "alarm: threshold=0.7, replay_batch_size=16, most=8; allowed: threshold above 0 to 1, most "
            "replay_batch_size or more",
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        plugins.build("strategy", name, arguments)
    assert str(caught.value) == line


def test_the_alarm_passes_replays_refusal_on() -> None:
    with pytest.raises(InputError, match="memory_size"):
        plugins.build("strategy", "alarm", {"memory_size": -1.0})


def test_seq_star_refuses_the_domain_setting() -> None:
    with pytest.raises(InputError, match="does not support setting 'domain'; allowed: task, class"):
        make_plan({"scenario": "toy", "strategy": "seq_star", "setting": "domain"})


# --- what they are for


@pytest.mark.parametrize(
    ("expression", "setting"),
    [
        slow("ema", "task"),
        slow("wise", "domain"),
        slow("cumulative", "task"),
        slow("seq_star", "task"),
        slow("alarm", "domain"),
    ],
)
def test_they_forget_less_than_naive(toy_forgetting: Callable[..., float], expression: str, setting: str) -> None:
    naive = toy_forgetting("naive", setting=setting)
    assert naive > 0.05
    assert toy_forgetting(expression, setting=setting) < naive - 0.03


def test_a_change_of_replay_is_a_change_of_alarm() -> None:
    files = [path.name for path in plugins.reached_files(plugins.find("strategy", "alarm"))]
    assert files[0] == "alarm.py"
    assert {"replay.py", "buffer.py", "rehearsal.py"} < set(files)
