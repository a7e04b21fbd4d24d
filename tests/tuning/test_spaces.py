"""What is tried for each value, and how --search is read."""

from __future__ import annotations

from typing import Any

import pytest

from clbench.config import RunConfig, make_config
from clbench.errors import InputError
from clbench.plugins import available, build, describe, load, parse_expression, source_hash
from clbench.strategy import Choices, Range
from clbench.tuning.spaces import (
    arguments_of,
    check_search,
    ends,
    read_search,
    spaces_of,
    usual_values,
    with_values,
)
from tests.helpers import ROOT

CONFIG: RunConfig = make_config({"scenario": "toy", "strategy": "naive", "lr": 1e-3, "head_lr": 0.02})


def test_search_is_read() -> None:
    texts = ["lr=1e-5:1e-3:log", "x.rank=2:8", "memory_size=0.05,0.1", "a.sampling=ring,'herding'", "b=None"]
    found = read_search(texts)
    assert found == {
        "lr": Range(1e-5, 1e-3, log=True),
        "x.rank": Range(2, 8),
        "memory_size": Choices((0.05, 0.1)),
        "a.sampling": Choices(("ring", "herding")),
        "b": Choices((None,)),
    }
    rank = found["x.rank"]
    assert isinstance(rank, Range)
    assert rank.whole
    assert not rank.holds(2.5)


@pytest.mark.parametrize("text", ["lr", "lr=", "=1:2", "lr=1:2:3", "lr=a:b", "lr=2:1", "lr=0:1:log", "lr=1:1e999"])
def test_what_is_no_space_is_told(text: str) -> None:
    with pytest.raises(InputError):
        read_search([text])


def test_learning_rates_lie_a_factor_of_ten_around_the_usual_ones() -> None:
    spaces = spaces_of(CONFIG, "naive", {})
    assert set(spaces) == {"lr", "head_lr"}
    for name, low, high in (("lr", 1e-4, 1e-2), ("head_lr", 0.002, 0.2)):
        space = spaces[name]
        assert isinstance(space, Range)
        assert space.log
        assert [space.low, space.high] == pytest.approx([low, high])


def test_epochs_are_not_searched_where_steps_say_how_long_a_task_is() -> None:
    given = CONFIG.model_copy(update={"task_steps": 9})
    for config, texts in ((given, ["epochs=1:3"]), (CONFIG, ["epochs=1:3", "task_steps=5,9"])):
        with pytest.raises(InputError, match="--search epochs has no effect beside task_steps"):
            spaces_of(config, "naive", read_search(texts))
    assert set(spaces_of(given, "naive", read_search(["task_steps=5,9"]))) == {"lr", "head_lr", "task_steps"}


def test_given_arguments_stay_and_search_goes_before_the_file() -> None:
    assert set(spaces_of(CONFIG, "der(alpha=1.0)+ewc", {})) == {"lr", "head_lr", "der.beta", "ewc.ewc_lambda"}
    search = read_search(["ewc_lambda=1:2", "der.memory_size=0.1,0.2", "lr=0.5", "der.alpha=5,6", "warmup=0.1:0.2"])
    spaces = spaces_of(CONFIG, "der(alpha=1.0)+ewc", search)
    assert spaces["ewc.ewc_lambda"] == Range(1, 2)
    assert spaces["der.memory_size"] == Choices((0.1, 0.2))
    assert spaces["lr"] == Choices((0.5,))
    assert spaces["warmup"] == Range(0.1, 0.2)
    assert "der.alpha" not in spaces


def test_search_for_what_nobody_takes_names_the_nearest() -> None:
    check_search(read_search(["ewc_lambda=1:2", "ewc.decay=0:1"]), ["naive", "replay+ewc"])
    with pytest.raises(InputError, match="did you mean 'ewc_lambda'"):
        check_search(read_search(["ewc_lamda=1:2"]), ["replay+ewc"])
    with pytest.raises(InputError, match=r"'si\.strength'"):
        check_search(read_search(["si.strength=1:2"]), ["ewc"])


def test_values_become_arguments_and_settings() -> None:
    text, settings = with_values(
        "ewc(decay=0.5)+./some/mine.py", {"lr": 0.1, "ewc.ewc_lambda": 3.0, "mine.strength": 2}
    )
    assert text == "ewc(decay=0.5, ewc_lambda=3.0)+./some/mine.py(strength=2)"
    assert settings == {"lr": 0.1}
    for name in ("si.strength", "trust_remote_code", "ewc"):  # of a file that somebody gave away
        with pytest.raises(InputError, match=f"'{name}'"):
            with_values("ewc", {name: 1})


def test_usual_values_are_those_of_a_run_without_tuning() -> None:
    spaces = spaces_of(CONFIG, "ewc", read_search(["ewc.fisher_samples=1:100"]))
    assert usual_values(CONFIG, "ewc", spaces) == {"lr": 1e-3, "head_lr": 0.02, "ewc.ewc_lambda": 3000.0}  # 200 is none


def test_all_ends_and_choices_are_checked_beforehand() -> None:
    found = ends({"lr": Range(1.0, 2.0), "x.a": Choices(("p", "q", "r"))})
    assert found == [{"lr": 1.0, "x.a": "p"}, {"lr": 2.0, "x.a": "r"}, {"lr": 1.0, "x.a": "q"}]


@pytest.mark.parametrize("name", sorted(available("strategy")))
def test_the_spaces_of_a_strategy_hold_its_defaults_and_what_it_takes(name: str) -> None:
    spaces: dict[str, Any] = dict(load("strategy", name).search_spaces)
    defaults = arguments_of(parse_expression(name)[0])
    assert set(spaces) <= set(defaults)
    for argument, space in spaces.items():
        assert space.holds(defaults[argument]), f"{argument}={defaults[argument]}"
    for values in ends(spaces) if spaces else []:
        build("strategy", name, values)
    assert set(describe("strategy", name).search_spaces) == set(spaces)


def test_the_main_strategies_have_spaces() -> None:
    lacking = {name for name in available("strategy") if not load("strategy", name).search_spaces}
    assert lacking == {"naive", "joint", "cumulative", "ensemble", "independent", "frozen", "ncm", "ranpac", "gdumb"}


def test_another_space_is_no_other_code(tmp_path: Any) -> None:
    text = (ROOT / "strategies" / "ewc.py").read_text(encoding="utf-8")
    hashes = set()
    for spelled in (text, text.replace("Range(100.0", "Range(7.0"), text.replace("3000.0", "3001.0")):
        path = tmp_path / "ewc.py"
        path.write_text(spelled, encoding="utf-8")
        hashes.add((spelled == text, source_hash(path)))
    assert len({digest for _, digest in hashes}) == 2
