"""Finding, describing and building plug-ins: built-in ones, a user's own files, and what is wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from clbench import plugins
from clbench.errors import InputError
from clbench.plugins.plan import make_plan
from tests.helpers import ROOT

STRATEGIES = {
    *("adapter", "agem", "alarm", "cumulative", "der", "distillation", "ema", "er_ace", "ewc", "feature_distillation"),
    *("frozen", "gdumb", "gem", "ia3", "independent", "joint", "klda", "l2_anchor", "lora_incremental", "lora_merge"),
    *("lora_per_task", "lora_sequential", "mas", "naive", "ncm", "o_lora", "p_tuning_v2", "prefix_tuning"),
    *("progressive_prompts", "prompt_tuning", "ranpac", "replay", "rwalk", "seq_star", "si", "slda", "wise"),
}
SCENARIOS = {
    *("digits_seq", "image_seq", "instruct_seq", "permuted_mnist", "split_cifar", "split_mnist", "text_seq"),
    *("split_fashion_mnist", "token_seq", "toy", "toy_generation", "toy_image", "toy_token", "wordnet_class"),
}

MINE = '''
"""Pulls weights towards zero.

More about it.
"""

from typing import Literal

from clbench import Strategy


class _Helper(Strategy):
    """Not the plug-in."""


class Mine(Strategy):
    """Mine.

    Args:
        strength: how hard.
    """

    settings = ("task", "domain")

    def __init__(self, strength: float = 1.0, names: list[str] = [], *, kind: Literal["a", "b"] = "a") -> None:
        self.strength, self.names, self.kind = strength, names, kind
'''


def write(folder: Path, name: str, text: str = MINE) -> Path:
    path = folder / name
    path.write_text(dedent(text).lstrip(), encoding="utf-8")
    return path


def line_of(call: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **keywords)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_every_built_in_file_is_found_by_its_stem() -> None:
    assert set(plugins.available("strategy")) >= STRATEGIES
    assert set(plugins.available("scenario")) >= SCENARIOS
    for kind in plugins.KINDS:
        for name, path in plugins.available(kind).items():
            assert path.stem == name
            assert plugins.find(kind, name) == path


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("strategy", "ewcc", "unknown strategy 'ewcc'; did you mean 'ewc'? allowed: adapter, "),
        ("strategy", "Replay", "did you mean 'replay'?"),
        ("strategy", "toy", "unknown strategy 'toy'"),
        ("strategy", "", "unknown strategy ''"),
        ("scenario", "tooy", "unknown scenario 'tooy'; did you mean 'toy'?"),
        (
            "strategy",
            "./none.py",
            "strategy file './none.py' does not exist; allowed: a name or the path of a .py file",
        ),
        ("strategy", "./none.txt", "strategy file './none.txt' does not exist"),
        ("scenario", "folder/", "scenario file 'folder/' does not exist; allowed: a name or the path of a .py"),
    ],
)
def test_an_unknown_name_is_named_with_the_nearest(kind: str, name: str, message: str) -> None:
    assert message in line_of(plugins.find, kind, name)


def test_a_folder_is_no_plug_in(tmp_path: Path) -> None:
    (tmp_path / "x.py").mkdir()
    assert "is no file" in line_of(plugins.find, "strategy", str(tmp_path / "x.py"))


def test_describe_reads_the_file_without_running_it(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", MINE + "\n\nraise SystemExit('was imported')\n")
    found = plugins.describe("strategy", str(path))
    assert (found.name, found.path) == ("mine", path)
    assert found.summary == "Pulls weights towards zero."
    assert found.class_doc.startswith("Mine.")
    assert found.attributes["settings"] == ("task", "domain")
    assert [(p.name, p.annotation, p.default) for p in found.parameters] == [
        ("strength", "float", "1.0"),
        ("names", "list[str]", "[]"),
        ("kind", "Literal['a', 'b']", "'a'"),
    ]


@pytest.mark.parametrize(
    ("signature", "parameters"),
    [
        ("self", []),
        ("self, a: int, b: int = 2", [("a", "int", ""), ("b", "int", "2")]),
        ("self, a: int, *, b: int = 2", [("a", "int", ""), ("b", "int", "2")]),
        ("self, a=1, *, b: str", [("a", "", "1"), ("b", "str", "")]),
        ("self, *, seed: int = 0, **rest", [("seed", "int", "0")]),
    ],
)
def test_describe_takes_any_constructor(tmp_path: Path, signature: str, parameters: list[tuple[str, str, str]]) -> None:
    path = write(
        tmp_path,
        "mine.py",
        f"from clbench.strategy import Strategy\n\nclass A(Strategy):\n    def __init__({signature}):\n        pass\n",
    )
    found = plugins.describe("strategy", str(path)).parameters
    assert [(p.name, p.annotation, p.default) for p in found] == parameters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "is not readable Python"),
        ("x = 1\n", "defines no subclass of Strategy or Scenario; a plug-in file defines exactly one"),
        ("class Bare:\n    pass\n", "defines no subclass of Strategy or Scenario"),
    ],
)
def test_a_file_without_a_plug_in_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, "mine.py", text)
    assert message in line_of(plugins.describe, "strategy", str(path))
    assert str(path) in line_of(plugins.load, "strategy", str(path))


def test_a_file_that_fails_on_import_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", "import no_such_module_of_mine\n" + MINE)
    for _ in range(2):
        line = line_of(plugins.load, "strategy", str(path))
        assert line.startswith(
            f"{path} cannot be imported: ModuleNotFoundError: No module named 'no_such_module_of_mine'"
        )


def test_a_file_that_is_no_strategy_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", '"""A."""\n\n\nclass Mine(dict):\n    """Mine."""\n')
    line = line_of(make_plan, {"scenario": "toy", "strategy": str(path)})
    assert line == "mine.py defines Mine, which is no clbench.strategy.Strategy"


def test_builds_a_users_file_with_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py")
    built = plugins.build("strategy", str(path), {"strength": 2, "names": ["x", "y"], "kind": "b"})
    assert (type(built).__name__, built.strength, built.names, built.kind) == ("Mine", 2, ["x", "y"], "b")


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "message"),
    [
        ("strategy", "ewc", {"ewc_lamda": 1}, "unknown argument of ewc: 'ewc_lamda'; did you mean 'ewc_lambda'?"),
        ("strategy", "naive", {"strength": 1}, "unknown argument of naive: 'strength'; allowed: none"),
        ("strategy", "naive", {"args": 1}, "unknown argument of naive: 'args'; allowed: none"),
        ("scenario", "toy", {"tsks": 1}, "unknown argument of toy: 'tsks'; did you mean 'tasks'?"),
        ("strategy", "ewc", {"ewc_lambda": "3"}, "ewc_lambda = '3' is not allowed (input should be a valid number)"),
        ("strategy", "ewc", {"ewc_lambda": True}, "ewc: ewc_lambda = True is not allowed"),
        ("strategy", "ewc", {"ewc_lambda": float("inf")}, "ewc: ewc_lambda = inf is not allowed"),
        ("strategy", "ewc", {"fisher_samples": 2.5}, "fisher_samples = 2.5 is not allowed"),
        ("strategy", "schedule", {"kind": "cosin"}, "did you mean 'cosine'? allowed: 'cosine', 'step', "),
        ("strategy", "ewc", {"fisher": "sample"}, "fisher = 'sample' is not allowed (input should be 'sampled', "),
        ("strategy", "lora_per_task", {"target_modules": "query"}, "target_modules = 'query' is not allowed"),
        ("strategy", "lora_per_task", {"target_modules": [1]}, "target_modules = [1] is not allowed"),
        ("scenario", "split_mnist", {"pad": "true"}, "; did you mean 'True'? allowed: True or False"),
        ("scenario", "toy", {"tasks": True}, "tasks = True is not allowed (input should be a valid integer)"),
        ("strategy", "ewc", {"ewc_lambda": -1}, "allowed: ewc_lambda 0 or more"),
        ("strategy", "ewc", {"decay": 1.5}, "decay 0 to 1"),
        ("strategy", "ewc", {"fisher_samples": 0}, "fisher_samples 1 or more"),
        ("strategy", "replay", {"memory_size": 0}, "replay: memory_size = 0 is not allowed; allowed: a count"),
        ("strategy", "replay", {"memory_size": 2.5}, "replay: memory_size = 2.5 is not allowed"),
        ("strategy", "replay", {"replay_batch_size": 0}, "replay_batch_size = 0 is not allowed; allowed: at least 1"),
        ("strategy", "distillation", {"temperature": 0}, "distillation: temperature=0, alpha=1.0; allowed: temp"),
        ("strategy", "lora_per_task", {"rank": 0}, "lora_per_task: rank=0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_one_line(kind: str, name: str, arguments: dict[str, Any], message: str) -> None:
    assert message in line_of(plugins.build, kind, name, arguments)


def test_a_users_argument_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    path = str(write(tmp_path, "mine.py"))
    assert "names = [1] is not allowed" in line_of(plugins.build, "strategy", path, {"names": [1]})
    assert "kind = 'c' is not allowed (input should be 'a' or 'b')" in line_of(
        plugins.build, "strategy", path, {"kind": "c"}
    )


def test_the_user_wins_over_the_context() -> None:
    assert plugins.build("scenario", "toy", {"seed": 7}, seed=1, setting="class").seed == 7
    assert plugins.build("scenario", "toy", {}, seed=1, setting="class").setting == "class"


def test_a_users_ewc_is_not_the_built_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = write(tmp_path, "ewc.py", MINE)
    (tmp_path / "strategies").mkdir()
    write(tmp_path / "strategies", "naive.py", MINE)

    assert plugins.load("strategy", "ewc").__name__ == "EWC"
    assert plugins.load("strategy", "./ewc.py").__name__ == "Mine"
    assert plugins.load("strategy", "naive").__name__ == "Naive"
    assert plugins.load("strategy", "strategies/naive.py").__name__ == "Mine"

    plan = make_plan({"scenario": "toy", "strategy": "./ewc.py(strength=2)+ewc"})
    assert plan.config.strategy == "ewc.py(strength=2)+ewc"
    assert [type(member).__name__ for _, member in plan.strategy.members] == ["EWC", "Mine"]  # by name, as a stack acts
    assert plan.config.plugin_files == {"strategy:ewc.py": str(mine)}
    assert plan.config.plugin_hashes["strategy:ewc.py"] == plugins.source_hash(mine)
    assert plan.config.plugin_hashes["strategy:ewc"] == plugins.source_hash(ROOT / "strategies" / "ewc.py")

    # The same from the stored configuration, as `resume` does it.
    again = make_plan({k: v for k, v in plan.config.model_dump().items() if k != "plugin_hashes"})
    assert [type(member).__name__ for _, member in again.strategy.members] == ["EWC", "Mine"]
    assert again.config.hash8 == plan.config.hash8


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py")
    assert plugins.build("strategy", str(path), {}).strength == 1.0
    write(tmp_path, "mine.py", MINE.replace("= 1.0", "= 4.0"))
    assert plugins.build("strategy", str(path), {}).strength == 4.0


def test_a_file_may_be_called_like_another_module(tmp_path: Path) -> None:
    path = write(tmp_path, "json.py")
    assert plugins.load("strategy", str(path)).__name__ == "Mine"
    import json

    assert json.loads("[1]") == [1]


def test_listing_and_describing_import_nothing_heavy(tmp_path: Path) -> None:
    program = """
    import sys
    from pathlib import Path
    from clbench.commands import describe, listing
    for what in ("scenarios", "strategies", "models"):
        assert "naive" in listing.list_rows(what, [], as_json=False) or what != "strategies"
    for name in ("ewc", "toy", "lora_per_task", "text_seq", "./mine.py"):
        assert describe.page(name)
    heavy = {"torch", "transformers", "datasets", "pandas", "pyarrow", "matplotlib", "sklearn", "peft"}
    ours = [name for name in sys.modules if name.startswith(("clbench.strategies.", "clbench_user"))]
    print(sorted(heavy & set(sys.modules)), ours)
    """
    write(tmp_path, "mine.py")
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[] []\n", "")
