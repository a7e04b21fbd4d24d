"""Pairs of texts: as transformers encodes them, in batches, memories and checkpoints, and out again by a pipeline."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.cli import main
from clbench.config import make_config
from clbench.conformance.kept import kept_difference
from clbench.data import collate, concatenate
from clbench.engine import Reporter, engine
from clbench.engine.interrupts import Interrupted
from clbench.errors import InputError
from clbench.kinds import Part, find_kind, tokens
from clbench.models import load_model
from clbench.plugins.plan import make_plan
from clbench.tasks import task_from_rows
from clbench.toolkit import Router
from tests.helpers import slow
from tests.models import zoo

CPU = torch.device("cpu")
WORDS = ("wet", "dry", "hot", "cold", "old", "new", "red", "blue", "big", "small")
# What stands around a pair, and which types its tokens have; None where the tokenizer names none.
SHAPES: dict[str, tuple[str, list[str] | None]] = {
    "Bert": ("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", ["input_ids", "token_type_ids", "attention_mask"]),
    "Roberta": ("[CLS]:0 $A:0 [SEP]:0 [SEP]:0 $B:0 [SEP]:0", None),
    # The tokenizer says types, the model has none.
    "DebertaV2": ("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", ["input_ids", "attention_mask", "token_type_ids"]),
    "GPT2": ("$A:0 $B:0", None),
}


def folder(name: str, path: Path) -> Path:
    """The architecture ``name`` with a tokenizer that puts its special tokens around pairs."""
    from tokenizers import processors

    template, names = SHAPES[name]
    more = {"type_vocab_size": 0} if name == "DebertaV2" else {}
    model = zoo.make(name, headless=True, **more)
    model.save_pretrained(path)
    made = zoo.tokenizer(model.config.pad_token_id, model.config.eos_token_id, list(WORDS))
    single, special = template.partition(" $B")[0], [("[CLS]", 3), ("[SEP]", model.config.eos_token_id)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=template, special_tokens=special
    )
    if names:
        made.model_input_names = made.init_kwargs["model_input_names"] = names
    made.save_pretrained(path)
    return path


def rows(name: str, count: int = 24) -> list[tuple[tuple[str, str], str]]:
    """Pairs whose label is whether their first words are the same."""
    stream = random.Random(name)
    found: dict[Any, str] = {}
    while len(found) < count:
        same = len(found) % 2 == 0
        first = stream.choice(WORDS)
        second = first if same else stream.choice([word for word in WORDS if word != first])
        pair = tuple(" ".join([word, *stream.choices(WORDS, k=stream.randint(1, 9))]) for word in (first, second))
        found[pair] = "same" if same else "other"
    return list(found.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    lines = [
        {"task": task, "text": text, "text_pair": pair, "label": label}
        for task in ("a", "b")
        for (text, pair), label in rows(task)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_plain_transformers(name: str, tmp_path: Path) -> None:
    """A quarter of the pairs is cut: each text of a pair where it is the longer one."""
    from transformers import AutoTokenizer

    path, task = folder(name, tmp_path), task_from_rows("a", rows("a"), 0)
    given = {"scenario": "toy", "strategy": "naive", "model": str(path), "max_length": 12}
    loaded = load_model(make_config(given), [task], 2, CPU)
    kind, plain = find_kind("text"), AutoTokenizer.from_pretrained(path)
    (examples,), notes = kind.encode([Part(task.train, task.labels, (0, 1), 0)], loaded.tokenizer, 12)
    assert ("token_type_ids" in examples[0]) is (name == "Bert")
    assert bool(notes) is (name == "GPT2")
    texts, pairs = task.train["text"][:], task.train["text_pair"][:]
    whole = plain(texts, pairs)["input_ids"]
    assert 0 < sum(len(ids) > 12 for ids in whole) < len(whole)
    (told,) = kind.count_cuts([Part(task.train, task.labels, (0, 1), 0)], [examples], loaded.tokenizer, 12)
    assert told.startswith(f"{sum(len(ids) > 12 for ids in whole)} of {len(whole)} texts ")

    asked = plain(texts, pairs, truncation="longest_first", max_length=12, padding=True, return_tensors="pt")
    if name == "DebertaV2":
        assert "token_type_ids" in asked  # which its forward pass takes and leaves unread
    batch = collate(examples, loaded.tokenizer.pad_token_id, CPU)
    keys = [key for key in batch if key not in ("labels", "task_ids")]
    model = loaded.model.eval()
    with torch.inference_mode():
        found, expected = model(**{key: batch[key] for key in keys}).logits, model(**asked).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        if name == "Bert":
            batch["token_type_ids"] = torch.zeros_like(batch["token_type_ids"])
            assert not torch.allclose(model(**{key: batch[key] for key in keys}).logits, expected, atol=1e-3)


def test_batches_of_pairs_are_joined_with_padding_of_type_0() -> None:
    short = {"input_ids": torch.tensor([5, 6]), "token_type_ids": torch.tensor([0, 1]), "label": 0, "task_id": 0}
    long = {"input_ids": torch.tensor([5, 6, 7]), "token_type_ids": torch.tensor([0, 1, 1]), "label": 0, "task_id": 0}
    joined = concatenate(collate([short], 0, CPU), collate([long], 0, CPU), 0)
    assert joined["token_type_ids"].tolist() == [[0, 1, 0], [0, 1, 1]]
    together = collate([short, long], 0, CPU)
    assert all(torch.equal(joined[key], together[key]) for key in together)


def test_the_cache_keeps_types_and_knows_a_pair_from_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "FEWEST_CACHED", 2)
    from transformers import AutoTokenizer

    path = folder("Bert", tmp_path / "model")

    def encode(texts: list[tuple[str, str]]) -> list[dict[str, torch.Tensor]]:
        return tokens.encode_texts(texts, AutoTokenizer.from_pretrained(path), 16)

    first, second = [("hot old", "cold"), ("new", "red big")], [("hot", "old cold"), ("new", "red big")]
    once = encode(first)
    assert [found["token_type_ids"].tolist() for found in once] == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    again = encode(first)
    assert all(torch.equal(one[key], other[key]) for one, other in zip(once, again, strict=True) for key in one)
    assert encode(second)[0]["token_type_ids"].tolist() == [0, 0, 0, 1, 1, 1]
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 2


def test_a_length_without_room_for_a_pair_is_refused(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder("Roberta", tmp_path))
    with pytest.raises(InputError, match=r"max_length = 5 .* 4 special tokens; allowed: 6 or more"):
        tokens.encode_texts([("hot", "cold")], tokenizer, 5)
    assert len(tokens.encode_texts([("hot old", "cold")], tokenizer, 6)[0]["input_ids"]) == 6


class Stopping(Reporter):
    """Asks the run to stop inside the second task."""

    def start_task(self, label: str, steps: int, steps_done: int = 0) -> None:
        if " 2/2" in label and not steps_done:
            signal.raise_signal(signal.SIGINT)


OPTIONS: dict[str, Any] = {
    "epochs": 1, "min_steps": 0, "batch_size": 4, "lr": 5e-3, "head_lr": 5e-2, "device": "cpu", "max_length": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    "strategy",
    ["replay", "p_tuning_v2", slow("ewc"), slow("slda"), slow("lora_per_task(router='confidence', rank=2)")],
)
def test_memories_and_passes_read_types_and_come_back(strategy: str, data: Path, tmp_path: Path) -> None:
    """Interrupted inside a task and gone on with, the predictions are the same, and the types are read throughout."""
    model = str(folder("Bert", tmp_path / "model"))
    options = {**OPTIONS, "scenario": str(data), "setting": "task", "strategy": strategy, "model": model}

    def plan(name: str) -> Any:
        return make_plan({**options, "output_dir": str(tmp_path / name)})

    whole = engine.run(plan("whole"), Reporter())
    stopped = plan("stopped")
    if strategy != "slda":  # which takes no step to stop at
        with pytest.raises(Interrupted):
            engine.run(stopped, Stopping())
    again = engine.run(plan("stopped"), Reporter())
    assert again["predictions_sha256"] == whole["predictions_sha256"]
    paths = [engine.run_folder(plan(name).config).path / "log.jsonl" for name in ("whole", "stopped")]
    logs = [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]
    telling = [[{k: v for k, v in event.items() if k != "seconds"} for event in log] for log in logs]
    assert telling[0] == telling[1]


def test_a_router_keeps_the_types_of_the_pairs_that_it_is_measured_on() -> None:
    kept, again = Router("confidence"), Router("confidence")
    ids, types = torch.tensor([3, 5, 1, 6, 1]), torch.tensor([0, 0, 0, 1, 1])
    kept.dev = [{"input_ids": ids, "token_type_ids": types, "label": 0, "task_id": 1}]
    again.load_state_dict(json.loads(json.dumps(kept.state_dict())), CPU)
    assert sorted(again.dev[0]) == ["input_ids", "label", "task_id", "token_type_ids"]
    assert torch.equal(again.dev[0]["input_ids"], ids)
    assert torch.equal(again.dev[0]["token_type_ids"], types)


@pytest.mark.parametrize("strategy", ["naive", slow("slda"), slow("prompt_tuning")])
def test_the_kept_model_answers_pairs_as_the_run_did(strategy: str, data: Path, tmp_path: Path) -> None:
    model = str(folder("Bert", tmp_path / "model"))
    options = {**OPTIONS, "scenario": str(data), "setting": "task", "strategy": strategy, "model": model}
    kept = {"save_model": "final", "precision": "fp32", "output_dir": str(tmp_path / "out")}
    assert kept_difference(make_plan({**options, **kept})) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in Path(engine.__file__).parents[2].glob("strategies/*.py")))
def test_every_strategy_learns_pairs(name: str, data: Path, tmp_path: Path) -> None:
    model = str(folder("Bert", tmp_path / "model"))
    options = {
        **OPTIONS,
        "scenario": str(data),
        "setting": "task",
        "strategy": name,
        "model": model,
        "output_dir": str(tmp_path),
    }
    result = engine.run(make_plan(options), Reporter())
    assert all(cell is not None for cell in result["accuracy_matrix"][-1])


@pytest.mark.parametrize("name", ["Bert", "Roberta"])
def test_a_pipeline_on_the_export_answers_as_predict(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    model = folder(name, tmp_path / "model")
    words = ["run", "--scenario", str(data), "--setting", "domain", "--strategy", "naive", "--model", str(model), "-q"]
    words += [
        "--lr",
        "0.005",
        "--batch-size",
        "8",
        "--max-length",
        "14",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--save-model",
    ]
    assert main([*words, "--output-dir", str(tmp_path / "out")]) == 0
    (run,) = (tmp_path / "out" / "pairs" / "naive").iterdir()
    out = tmp_path / "exported"
    assert main(["export", str(run), "-o", str(out)]) == 0
    asked = [{"text": text, "text_pair": pair} for (text, pair), _ in rows("new", 12)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, asked)))
    capsys.readouterr()
    assert main(["predict", str(out), "--input", str(tmp_path / "in.jsonl")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    plain = pipeline("text-classification", model=str(out), device="cpu")
    found = [plain(each, truncation=True, padding=True) for each in asked]
    assert [each["label"] for each in answers] == [each["label"] for each in found]
    assert [each["probability"] for each in answers] == pytest.approx([each["score"] for each in found], abs=1e-5)
    assert main(["predict", str(out), "hot"]) == 2
    assert "this model reads pairs of texts, and text 1 has none to be read after it" in capsys.readouterr().err
    card = (out / "README.md").read_text()
    assert "(texts, text_pairs, padding=True" in card
    assert "--input FILE.jsonl" in card


def test_tasks_with_and_without_pairs_are_refused() -> None:
    from clbench.tasks import check_tasks

    pairs, plain = task_from_rows("a", rows("a"), 0), task_from_rows("b", [(t, n) for (t, _), n in rows("b")], 0)
    with pytest.raises(InputError, match="task 'b': train has no 'text_pair' and task 'a': train has; allowed: all"):
        check_tasks([pairs, plain], "task")
    with pytest.raises(InputError, match="1 of 15 texts have a text_pair; allowed: all or none"):
        task_from_rows("a", [*((t, n) for (t, _), n in rows("b")), (("hot", "cold"), "same")], 0)


def test_a_table_of_a_python_scenario_has_pairs(tmp_path: Path, data: Path) -> None:
    import pandas as pd

    from clbench.toolkit import read_csv_tasks

    pd.read_json(data, lines=True).to_csv(tmp_path / "pairs.csv", index=False)
    first, second = read_csv_tasks(tmp_path / "pairs.csv", seed=0, text_pair="text_pair")
    found = {pair for split in first.splits.values() for pair in zip(split["text"], split["text_pair"], strict=True)}
    assert found == {pair for pair, _ in rows("a")}
    assert second.name == "b"
    alone = read_csv_tasks(tmp_path / "pairs.csv", seed=0)[0]
    assert alone.train.column_names == ["text", "label"]


def test_describe_counts_the_tokens_of_both(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(data), "--model", "tiny"]) == 0
    longest = max(len(f"{text} {pair}".split()) for task in "ab" for (text, pair), _ in rows(task))
    printed = capsys.readouterr().out
    assert "text_pair = text_pair (by its name)" in printed
    assert f"the longest {longest + 3}\n" in printed or f"the longest {longest} (" in printed
