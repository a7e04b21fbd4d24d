"""Every check of a strategy can fail: for each there is one that is broken so that this check fails and no other."""

import textwrap
from pathlib import Path

import pytest

from clbench.cli import main
from clbench.conformance import strategy_checks
from clbench.conformance.checks import CheckResult, run_checks, undisturbed
from clbench.conformance.strategy_checks import StrategyChecks
from clbench.conformance.trials import Trials
from clbench.testing import check_strategy
from tests.helpers import slow

HEAD = '''
"""Broken on purpose."""
import random

import torch

from clbench.rng import generator
from clbench import Strategy


def shake(learner, noise, size=1e-3):
    with torch.no_grad():
        for _, parameter in learner.named_parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=noise))


class Broken(Strategy):
    kinds = ("text",)
    settings = ("task",)
'''

# For each name: the check that must fail, a part of its line, and the body of the class.
BROKEN_STRATEGIES = {
    "constructor": ("loads", "ValueError: no good (broken.py, line", "def __init__(self): raise ValueError('no good')"),
    "unknown setting": ("loads", "settings ('tasks',)", "settings = ('tasks',)"),
    "hook raises": (
        "runs",
        "KeyError: 'kitchen' (broken.py, line 21)",
        """
        def after_task(self, learner, task):
            {}[task.name]
        """,
    ),
    "hook with another signature": ("runs", "(broken.py, line 19)", "def loss(self, batch, logits): return None"),
    "stop with another signature": ("runs", "(broken.py, line 19)", "def stop(self, learner): return False"),
    "a row of another shape": (
        "runs",
        "the strategy makes 8 rows of task 'kitchen', with text",
        "def examples(self, learner, task, rows): return rows.remove_columns('label')",
    ),
    "loss is not a number": (
        "runs",
        "RunError: the loss is nan",
        "def loss(self, l, b, logits): return logits.sum() * torch.nan",
    ),
    "one setting fails": (
        "runs",
        "RuntimeError: no domain",
        """
        settings = ("task", "domain")
        def before_task(self, learner, task):
            if learner.labels.setting == "domain":
                raise RuntimeError("no domain")
        """,
    ),
    "state is a Python object": (
        "state_dict",
        "got Generator",
        "def state_dict(self): return {'stream': torch.Generator()}",
    ),
    "state has a tuple": ("state_dict", "got tuple: (1, 2)", "def state_dict(self): return {'pair': (1, 2)}"),
    "state is not loaded": (
        "state_dict",
        "state_dict()['broken']['count'] is 1, then 0 after load_state_dict",
        """
        count = 0
        def after_task(self, learner, task):
            self.count += 1
        def state_dict(self):
            return {"count": self.count}
        """,
    ),
    "anchors are aliases": (
        "aliases",
        "differs by up to 1 when the live weights change, after kitchen",
        """
        def setup(self, learner):
            self.anchors = {}
        def before_step(self, learner):
            for name, parameter in learner.named_parameters():
                if name in self.anchors:
                    parameter.grad += parameter.detach() - self.anchors[name]
        def after_task(self, learner, task):
            self.anchors = {name: p.detach() for name, p in learner.named_parameters()}
        def state_dict(self):
            return {name: p.clone() for name, p in self.anchors.items()}
        def load_state_dict(self, state):
            self.anchors = state
        """,
    ),
    "features are detached": (
        "gradients",
        "requires grad but got no gradient in the 4 steps of kitchen",
        """
        def setup(self, learner):
            learner.model.classifier.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach(),))
        """,
    ),
    "gradients are zeroed": (
        "gradients",
        "classifier.bias: requires grad but its gradient was 0",
        """
        def before_step(self, learner):
            learner.model.classifier.bias.grad.zero_()
        """,
    ),
    "updates are undone": (
        "gradients",
        "classifier.bias: has a gradient but did not change",
        """
        def before_task(self, learner, task):
            self.kept = learner.model.classifier.bias.detach().clone()
        def after_step(self, learner):
            with torch.no_grad():
                learner.model.classifier.bias.copy_(self.kept)
        """,
    ),
    "frozen weights change": (
        "gradients",
        "does not require grad but changed",
        """
        def setup(self, learner):
            learner.freeze_body()
        def after_step(self, learner):
            with torch.no_grad():
                for parameter in learner.model.parameters():
                    parameter.mul_(0.999)
        """,
    ),
    "examples are reordered": (
        "task data",
        "kitchen.train (8 examples) is not naive's, found after before_task of kitchen",
        "def before_task(self, learner, task): task.train.reverse()",
    ),
    "an old task's examples are dropped": (
        "task data",
        "kitchen.dev (2 examples) is not naive's, found after after_task of station",
        """
        old = None
        def after_task(self, learner, task):
            if self.old:
                self.old.dev.pop()
            self.old = task if task.position == 0 else None
        """,
    ),
    "seeded by the clock": (
        "same seed",
        "the weights differ after step 1 of kitchen",
        """
        def setup(self, learner):
            self.noise = torch.Generator()
            self.noise.seed()
        def after_step(self, learner):
            shake(learner, self.noise)
        """,
    ),
    "counts over runs": (
        "same seed",
        "the weights differ at the end of kitchen",
        """
        runs = []
        def setup(self, learner):
            self.runs.append(1)
        def after_task(self, learner, task):
            shake(learner, generator(learner.seed, len(self.runs)))
        """,
    ),
    "ends with a seed of its own": (
        "other seed",
        "seeds 0 and 1 give the same weights at the end of market",
        """
        def after_task(self, learner, task):
            if task.position + 1 == learner.tasks:
                with torch.no_grad():
                    for parameter in learner.model.parameters():
                        parameter.normal_(generator=torch.Generator().manual_seed(42))
        """,
    ),
    "torch's global stream": (
        "hidden randomness",
        "the weights differ after step 1 of kitchen under other global random states",
        "def setup(self, learner): torch.nn.init.normal_(learner.model.classifier.weight)",
    ),
    "rows by Python's global stream": (
        "task data",
        "is not naive's",
        "def examples(self, learner, task, rows): return rows.select(random.sample(range(8), 5))",
    ),
    "Python's global stream": (
        "hidden randomness",
        "the weights differ after step 1 of kitchen",
        "def after_step(self, learner): shake(learner, torch.Generator().manual_seed(random.randrange(99)))",
    ),
    "makes the scenario again": (
        "test examples",
        "with another test split the weights differ after step 1 of kitchen",
        """
        def before_task(self, learner, task):
            from clbench import plugins
            scenario = plugins.build("scenario", "toy", {}, seed=learner.seed, setting=learner.labels.setting)
            self.text = scenario.tasks()[task.position].test["text"][0]
        def after_step(self, learner):
            shake(learner, generator(0, self.text))
        """,
    ),
    "remembers what it answered": (
        "test examples",
        "with another test split the weights differ after step 1 of kitchen",
        """
        tokens = 0
        def predict(self, learner, batch, task_id):
            self.tokens += int((batch["input_ids"] ** 2 * torch.arange(batch["input_ids"].shape[1])).sum())
        def after_step(self, learner):
            shake(learner, generator(self.tokens))
        def state_dict(self):
            return {"tokens": self.tokens}
        def load_state_dict(self, state):
            self.tokens = state["tokens"]
        """,
    ),
    "looks the labels up": (
        "test labels",
        "with other test labels",
        """
        def setup(self, learner):
            from clbench import plugins
            scenario = plugins.build("scenario", "toy", {}, seed=learner.seed, setting=learner.labels.setting)
            self.label = scenario.tasks()[0].test["label"][0]
        def predict(self, learner, batch, task_id):
            answer = torch.full((len(batch["task_ids"]), len(learner.labels.names)), -1.0)
            answer[:, self.label :: 2] = 1.0
            return answer
        """,
    ),
    "answers with the label": (
        "runs",
        "KeyError: 'labels'",
        """
        def predict(self, learner, batch, task_id):
            return torch.nn.functional.one_hot(batch["labels"], len(learner.labels.names)).float()
        """,
    ),
    "a hook that is said to be idle moves the weights": (
        "first task",
        "with the first task taken over from naive",
        """
        idle_in_first_task = ("after_step",)
        def after_step(self, learner):
            shake(learner, generator(learner.step))
        """,
    ),
    "a hook that is said to be idle counts": (
        "first task",
        "with the first task taken over from naive the checkpoint['strategy']['broken']['steps'] is 8, then 4",
        """
        idle_in_first_task = ("after_step",)
        steps = 0
        def after_step(self, learner):
            self.steps += 1
        def state_dict(self):
            return {"steps": self.steps}
        def load_state_dict(self, state):
            self.steps = state["steps"]
        """,
    ),
    "forgets its random stream": (
        "resume",
        "the weights differ after step 2 of kitchen, before the cut after kitchen",
        """
        def setup(self, learner):
            self.noise = generator(learner.seed, "noise")
        def after_step(self, learner):
            shake(learner, self.noise)
        """,
    ),
    "forgets its buffer's random stream": (
        "resume",
        "the weights differ after step",
        """
        def setup(self, learner):
            from clbench.toolkit import ExampleBuffer
            self.learner, self.buffer = learner, ExampleBuffer(6, "reservoir", learner.seed)
        def train_batch(self, batch):
            return self.learner.collate(self.buffer.sample(3)) if len(self.buffer) else batch
        def after_task(self, learner, task):
            self.buffer.add(task.train)
        def state_dict(self):
            state = self.buffer.state_dict()
            del state["generator"]
            return state
        def load_state_dict(self, state):
            self.buffer.load_state_dict({**state, "generator": self.buffer.generator.get_state()})
        """,
    ),
    "forgets its teacher": (
        "resume",
        "of station, before the cut",
        """
        old = None
        def loss(self, learner, batch, logits):
            return None if self.old is None else (logits.mean() - self.old) ** 2
        def after_task(self, learner, task):
            self.old = len(task.train) + 1.0
        """,
    ),
    "forgets when to stop": (
        "resume",
        "before the cut",
        """
        left = 3
        def before_task(self, learner, task):
            self.left = 3
        def stop(self, learner, task):
            self.left -= 1
            return not self.left
        """,
    ),
    "freezes and does not say so": (
        "resume",
        "before the cut",
        """
        def after_task(self, learner, task):
            learner.freeze_body()
        """,
    ),
    "answers by what its state does not say": (
        "kept model",
        "no model is kept: what transformers loads gives other answers than the strategy, and broken answers "
        "otherwise once its state is loaded",
        """
        begun = False
        def before_task(self, learner, task):
            self.begun = True
        def predict(self, learner, batch, task_id):
            return 2 * learner.logits(batch) if self.begun else None
        """,
    ),
}


FIRST = {check: name for name, (check, _, _) in reversed(BROKEN_STRATEGIES.items())}


def write(tmp_path: Path, body: str, head: str = HEAD) -> str:
    path = tmp_path / "broken.py"
    path.write_text(head.lstrip() + textwrap.indent(textwrap.dedent(body), "    ") + "\n")
    return str(path)


def run_only(check: str, path: str, tmp_path: Path) -> CheckResult:
    """The result of one check, run after those that it cannot do without."""
    trials = Trials(path, tmp_path)
    checks = [c for c in StrategyChecks(trials).all() if c.name in ("loads", "runs", check)]
    with undisturbed():
        return next(r for r in run_checks(checks, trials.files, lambda _: None) if r.name == check)


# That no other check fails takes long: of these only their own check is seen by default.
LONG = {
    *("ends with a seed of its own", "makes the scenario again", "looks the labels up"),
    *("a hook that is said to be idle moves the weights", "answers by what its state does not say"),
}


@pytest.mark.parametrize("name", [slow(name) if name in LONG else name for name in FIRST.values()])
def test_a_broken_strategy_fails_its_check_and_no_other(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check, reason, body = BROKEN_STRATEGIES[name]
    path = write(tmp_path, body)
    assert main(["check", path]) == 1
    lines = capsys.readouterr().out.splitlines()
    (failed,) = [line for line in lines if " FAILED: " in line]
    assert failed.split("  ")[0] == check
    assert reason in failed
    checks = StrategyChecks(Trials(path, tmp_path)).all()
    assert [line.split("  ")[0] for line in lines] == [known.name for known in checks]
    # What could not be told apart from this failure is skipped, and nothing else.
    needing = {known.name for known in checks if check in known.needs} | ({"runs"} if check == "loads" else set())
    skipped = {line.split("  ")[0] for line in lines if " skipped: " in line}
    assert skipped >= needing
    assert check in ("loads", "runs", "state_dict", "same seed") or skipped == needing


@pytest.mark.parametrize("name", [name for name in BROKEN_STRATEGIES if name in LONG or name not in FIRST.values()])
def test_other_ways_to_fail_a_check(name: str, tmp_path: Path) -> None:
    check, reason, body = BROKEN_STRATEGIES[name]
    result = run_only(check, write(tmp_path, body), tmp_path)
    assert result.status == "FAILED"
    assert reason in result.reason


def test_every_check_is_broken_by_something(tmp_path: Path) -> None:
    assert list(FIRST.keys() ^ {check.name for check in StrategyChecks(Trials("naive", tmp_path)).all()}) == []


def test_what_was_set_up_before_may_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that leaves a mark in the process, and a strategy that reads it."""
    (tmp_path / "neighbour").mkdir()
    body = "def setup(self, learner): import os; os.environ['CLBENCH_NEIGHBOUR'] = '1'"
    neighbour = write(tmp_path / "neighbour", body)
    body = """
    def after_task(self, learner, task):
        import os
        if "CLBENCH_NEIGHBOUR" in os.environ:
            shake(learner, generator(0))
    """
    monkeypatch.setattr(strategy_checks, "NEIGHBOURS", (neighbour,))
    monkeypatch.setenv("CLBENCH_NEIGHBOUR", "")
    monkeypatch.delenv("CLBENCH_NEIGHBOUR")
    result = run_only("hidden randomness", write(tmp_path, body), tmp_path)
    assert result.reason == "the weights differ at the end of kitchen under other global random states"


def test_the_error_of_a_failed_check_has_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "", HEAD + "    pass\n\n\nimport no_such_module\n")
    with pytest.raises(AssertionError) as failure:
        check_strategy(path)
    assert str(failure.value).splitlines() == [
        f"{path} fails 1 of 14 checks:",
        "loads              FAILED: ModuleNotFoundError: No module named 'no_such_module' (broken.py, line 22)",
    ]


def test_an_interrupt_ends_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "def before_step(self, learner): import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    assert main(["check", write(tmp_path, body)]) == 130
    assert "interrupted in the check 'runs'" in capsys.readouterr().err
