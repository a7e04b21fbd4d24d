"""The model of a run on tags and written answers: kept, loaded by plain code, asked again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.engine import KeptModel, Reporter, engine
from clbench.errors import InputError
from clbench.kinds import Limits, find_kind
from clbench.models.exporting import export_model
from clbench.plugins.plan import Plan, make_plan
from clbench.results.folder import RunFolder
from tests.engine.test_model_out import by_the_card, last_row
from tests.models import zoo

TINY: dict[str, Any] = {
    "epochs": 2, "lr": 5e-3, "head_lr": 5e-2, "batch_size": 8, "device": "cpu", "precision": "fp32",
    "scenario_args": {"tasks": 2, "train": 24, "dev": 3, "test": 12}, "save_model": "final",
}  # fmt: skip
# Written answers take longer to be any.
OWN: dict[str, dict[str, Any]] = {"toy_generation": {"epochs": 12}}
CPU = torch.device("cpu")
Kept = tuple[Plan, RunFolder]
Make = Callable[..., Kept]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``kept(scenario, strategy, setting)``: a finished run with its model; each is made once."""
    output, done = tmp_path_factory.mktemp("kept"), dict[str, Kept]()

    def make(scenario: str, strategy: str, setting: str = "task", **options: Any) -> Kept:
        if (key := f"{scenario} {strategy} {setting} {options}") not in done:
            given = {**TINY, "scenario": scenario, "strategy": strategy, "setting": setting, **OWN.get(scenario, {})}
            given.update(options)
            plan = make_plan({**given, "output_dir": str(output)})
            engine.run(plan, Reporter())
            done[key] = plan, engine.run_folder(plan.config)
        return done[key]

    return make


def check_answers(plan: Plan, folder: RunFolder, form: str) -> KeptModel:
    """The kept model answers the test examples as the run did; it, loaded."""
    model = KeptModel(folder.model, CPU)
    assert model.deployment.form == form
    # How sure each answer is tells questions apart, also where a small model says the same to all.
    assert len({row for task in plan.tasks for row in last_row(folder, task.name)}) > len(plan.tasks[0].test)
    for task in plan.tasks:
        given = task.name if plan.config.setting == "task" else None
        answers = model.answer(model.kind.inputs_in(task.test), given)
        expected = last_row(folder, task.name)
        assert [_stored(a.answer) for a in answers] == [prediction for prediction, _ in expected]
        assert [a.probability for a in answers] == pytest.approx([sure for _, sure in expected], abs=1e-5)
    return model


def _stored(answer: str | list[str]) -> str:
    return answer if isinstance(answer, str) else " ".join(answer)


# --- token


TOKEN_FORMS = [
    ("naive", "task", "model"), ("naive", "class", "model"), ("replay", "domain", "model"),
    ("lora_sequential", "task", "adapter"), ("lora_per_task", "task", "tasks"), ("adapter", "task", "strategy"),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "setting", "form"), TOKEN_FORMS)
def test_tags_are_those_of_the_run(strategy: str, setting: str, form: str, kept: Make) -> None:
    check_answers(*kept("toy_token", strategy, setting), form)


def plain_tags(folder: Path, sentences: list[list[str]], columns: list[int], names: list[str]) -> list[str]:
    """The tags of words by the card's code and nothing of clbench."""
    scope: dict[str, Any] = {"sentences": sentences}
    best = by_the_card(folder, scope)[..., columns].argmax(-1)
    found = []
    for row, words in enumerate(sentences):
        owners = scope["inputs"].word_ids(row)
        found.append(" ".join(names[columns[best[row, owners.index(word)]]] for word in range(len(words))))
    return found


@pytest.mark.parametrize(("strategy", "setting"), [("naive", "class"), ("lora_sequential", "task")])
def test_plain_code_gives_the_tags_of_the_run(strategy: str, setting: str, kept: Make) -> None:
    plan, folder = kept("toy_token", strategy, setting)
    model = KeptModel(folder.model, CPU)
    own = model.deployment
    for position, task in enumerate(plan.tasks):
        columns = own.tasks[position].columns if setting == "task" else own.candidates
        tags = plain_tags(folder.model, task.test["tokens"][:], columns, own.labels)
        assert tags == [prediction for prediction, _ in last_row(folder, task.name)]


@pytest.mark.parametrize(("strategy", "merge"), [("naive", False), ("lora_per_task", False), ("lora_per_task", True)])
def test_tags_of_one_task_alone(strategy: str, merge: bool, kept: Make, tmp_path: Path) -> None:
    plan, folder = kept("toy_token", strategy)
    task, out = plan.tasks[1], tmp_path / "out"
    export_model(folder.model, out, task.name, merge=merge)
    tags = plain_tags(out, task.test["tokens"][:], list(range(len(task.labels))), list(task.labels))
    assert tags == [prediction for prediction, _ in last_row(folder, task.name)]
    assert [a.answer for a in KeptModel(out, CPU).answer(task.test["tokens"][:])] == [each.split() for each in tags]


def test_tags_whose_task_is_not_given(kept: Make) -> None:
    """All tags compete, a word at a time; the task is told where every tag is of one."""
    plan, folder = kept("toy_token", "lora_per_task")
    model = KeptModel(folder.model, CPU)
    for answer in model.answer(plan.tasks[0].test["tokens"][:]):
        assert answer.task_from == "all labels"
        named = {tag.partition("-")[2].partition("-")[0] for tag in answer.answer if tag != "O"}
        assert answer.task is None or named <= {answer.task}


def test_a_sentence_that_is_cut_has_a_tag_for_every_word(kept: Make) -> None:
    plan, folder = kept("toy_token", "naive", "task", max_length=6)
    model = check_answers(plan, folder, "model")
    (answer,) = model.answer([["red"] * 9], plan.tasks[0].name)
    assert len(answer.answer) == 9
    assert answer.answer[4:] == ["O"] * 5


# --- generation


SHARED, PER_TASK = "lora_sequential(learning_rate=0.03)", "lora_per_task(learning_rate=0.03)"
GENERATION_FORMS = [
    ("naive", "model"), (SHARED, "adapter"), (PER_TASK, "tasks"), ("adapter", "strategy"),
    ("lora_merge(learning_rate=0.03)", "model"),  # without the modules that its weights are merged from
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "form"), GENERATION_FORMS)
def test_written_answers_are_those_of_the_run(strategy: str, form: str, kept: Make) -> None:
    check_answers(*kept("toy_generation", strategy), form)


def plain_answers(folder: Path, prompts: list[str]) -> list[str]:
    """What is written by the card's code and nothing of clbench."""
    scope: dict[str, Any] = {"prompts": prompts}
    by_the_card(folder, scope)
    answers: list[str] = scope["answers"]
    return answers


@pytest.mark.parametrize("strategy", ["naive", SHARED])
def test_plain_code_writes_the_answers_of_the_run(strategy: str, kept: Make) -> None:
    plan, folder = kept("toy_generation", strategy)
    for task in plan.tasks:
        answers = plain_answers(folder.model, task.test["prompt"][:])
        assert answers == [prediction for prediction, _ in last_row(folder, task.name)]


@pytest.mark.parametrize(("strategy", "merge"), [("naive", False), (PER_TASK, False), (PER_TASK, True)])
def test_written_answers_of_one_task_alone(strategy: str, merge: bool, kept: Make, tmp_path: Path) -> None:
    plan, folder = kept("toy_generation", strategy)
    task, out = plan.tasks[1], tmp_path / "out"
    export_model(folder.model, out, task.name, merge=merge)
    answers = plain_answers(out, task.test["prompt"][:])
    assert answers == [prediction for prediction, _ in last_row(folder, task.name)]
    told = KeptModel(out, CPU).answer(task.test["prompt"][:])
    assert [(a.answer, a.task, a.task_from) for a in told] == [(each, task.name, "given") for each in answers]


def test_one_model_writes_whatever_the_task_and_modules_of_a_task_must_be_told_it(kept: Make) -> None:
    plan, folder = kept("toy_generation", "naive")
    prompts, model = plan.tasks[0].test["prompt"][:], KeptModel(folder.model, CPU)
    told, untold = model.answer(prompts, plan.tasks[0].name), model.answer(prompts)
    assert [a.answer for a in told] == [a.answer for a in untold]
    assert {(a.task, a.task_from) for a in untold} == {(None, "one model")}
    for strategy in (PER_TASK, "adapter"):
        _, folder = kept("toy_generation", strategy)
        with pytest.raises(InputError, match="nothing tells whose a prompt is; give --task: kitchen, station"):
            KeptModel(folder.model, CPU).answer(prompts)


def test_a_prompt_loses_its_beginning_where_the_model_has_no_more_positions() -> None:
    words, kind = ["one", "train", "met", "Ada", "Byron"], find_kind("generation")
    tokenizer = zoo.tokenizer(0, 1, words)
    whole = tokenizer.convert_tokens_to_ids(words)
    for limits, expected in (
        (Limits(7), whole),
        (Limits(6), whole[1:]),
        (Limits(7, positions=7, longest_answer=4), whole[2:]),
        (Limits(7, positions=70, longest_answer=4), whole),
    ):
        (example,) = kind.ask([" ".join(words)], tokenizer, limits)
        assert example["input_ids"].tolist() == expected


@pytest.mark.parametrize(("strategy", "form"), [("naive", "model"), (SHARED, "adapter")])
def test_tied_weights_and_a_chat_template_come_out(strategy: str, form: str, tmp_path: Path) -> None:
    """GPT-2's output layer is its embedding; the tokenizer puts tokens around a text that no prompt gets."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    settings = {"vocab_size": zoo.VOCABULARY, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3}
    GPT2LMHeadModel(GPT2Config(**settings, **zoo.SETTINGS["GPT2"])).save_pretrained(tmp_path / "base")
    given = {**TINY, **OWN["toy_generation"], "scenario": "toy_generation", "output_dir": str(tmp_path)}
    given["strategy"] = strategy
    words = {word for prompt in make_plan(given).tasks[0].train["prompt"][:] for word in prompt.split()}
    tokenizer = zoo.tokenizer(0, 1, ["red", "dark", "green", "very", "light", "blue", *sorted(words)[:40]])
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path / "base")
    plan = make_plan({**given, "model": str(tmp_path / "base")})
    engine.run(plan, Reporter())
    folder = engine.run_folder(plan.config)
    check_answers(plan, folder, form)
    assert AutoTokenizer.from_pretrained(folder.model).chat_template == "{{ messages }}"
    for task in plan.tasks:
        answers = plain_answers(folder.model, task.test["prompt"][:])
        assert answers == [prediction for prediction, _ in last_row(folder, task.name)]
