"""Model folders that are not what they say: missing and surplus weights, positions, tokens, sizes; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clbench.config import make_config
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.kinds import tokenise
from clbench.models import LoadedModel, load_model
from clbench.models.identity import model_identity
from clbench.models.weights import renew
from clbench.plugins import make_plan
from clbench.scenario import Task
from tests.helpers import strategy
from tests.models import zoo
from tests.models.test_architectures import SIZES, learner_of, load, tasks, words

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def saved(tmp_path: Path, name: str, **options: Any) -> Path:
    return zoo.save(name, tmp_path / name, list(words()), **options)


def rewrite(folder: Path, change: Change) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


def edit(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def line_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- weights


def test_a_prefix_before_every_key_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bert", headless=True)
    rewrite(folder, lambda held: {f"other.{key}": value for key, value in held.items()})
    line = line_of(load, folder)
    # 5 of the embeddings, 16 of each of two layers; the pooler's two are none of the token states' business.
    assert "37 of 39 weights are not in the checkpoint, such as bert.embeddings." in line
    assert "; 39 in it match nothing, such as other.embeddings." in line


@pytest.mark.parametrize("name", ["Bert", "XLNet", "Bart", "T5", "GPT2", "Llama", "ModernBert"])
@pytest.mark.parametrize("headless", [True, False])
def test_a_checkpoint_without_half_its_weights_is_refused(name: str, headless: bool, tmp_path: Path) -> None:
    folder = saved(tmp_path, name, headless=headless)
    rewrite(folder, lambda held: {key: value for n, (key, value) in enumerate(sorted(held.items())) if n % 2})
    assert "weights are not in the checkpoint, such as " in line_of(load, folder)


def test_one_missing_weight_is_one_too_many(tmp_path: Path) -> None:
    folder = saved(tmp_path, "DistilBert", headless=True)
    name = "transformer.layer.1.ffn.lin1.bias"
    rewrite(folder, lambda held: {key: value for key, value in held.items() if key != name})
    assert f"1 of 38 weights are not in the checkpoint, such as distilbert.{name};" in line_of(load, folder)


def test_a_pooler_that_is_missing_belongs_to_the_head(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bert", headless=True)
    assert "bert.pooler.dense.weight" not in load(folder).head.parameters  # it came with the checkpoint: body
    rewrite(folder, lambda held: {key: value for key, value in held.items() if "pooler" not in key})
    head = load(folder).head
    assert head.output_layer == "classifier"
    assert {n for n in head.parameters if "pooler" in n} == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert head.owns("base_model.model.bert.pooler.dense.bias")


def test_layers_that_config_json_leaves_out_are_refused(tmp_path: Path) -> None:
    """A half of the model would answer; a head for another purpose is no such thing."""
    folder = saved(tmp_path, "Bert", headless=True)
    edit(folder, num_hidden_layers=1)
    line = line_of(load, folder)
    assert "16 weights of the checkpoint match nothing in the model that config.json describes" in line
    assert "encoder.layer.1." in line
    edit(folder, num_hidden_layers=2)
    more = {
        "cls.predictions.decoder.weight": torch.zeros(64, 8),
        "cls.predictions.transform.dense.bias": torch.zeros(8),
    }
    rewrite(folder, lambda held: {**held, **more})
    assert load(folder).head.output_layer == "classifier"


def test_a_bias_that_config_json_leaves_out_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Llama", headless=True, attention_bias=True)
    edit(folder, attention_bias=False)
    assert "8 weights of the checkpoint match nothing" in line_of(load, folder)


def test_weights_of_another_size_are_refused_and_the_output_layers_are_not(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bart", labels=5)
    assert load(folder).head.output_layer == "classification_head.out_proj"
    name = "classification_head.dense.weight"
    rewrite(folder, lambda held: {**held, name: torch.zeros(9, 8)})
    assert f"the weights of {name} have another size than config.json says" in line_of(load, folder)


@pytest.mark.parametrize("name", ["Bart", "XLNet", "T5", "Electra", "GPT2", "Bert"])
@pytest.mark.parametrize("labels", [6, 4])
def test_the_output_layer_of_a_finetuned_model_is_made_anew_by_the_seed(name: str, labels: int, tmp_path: Path) -> None:
    """Also where the number of labels agrees; what else came with it, a dense layer too, stays and is body."""
    folder = saved(tmp_path, name, labels=labels)
    held = load_file(folder / "model.safetensors")
    first, again, other = (load(folder, seed=seed) for seed in (3, 3, 4))
    layer = f"{first.head.output_layer}.weight"
    one, same, another = (m.model.get_parameter(layer) for m in (first, again, other))
    assert torch.equal(one, same)
    assert not torch.equal(one, another)
    assert held[layer].shape[0] == labels
    assert labels != 6 or not torch.equal(one, held[layer])
    # Drawn as the architecture draws it: T5 by 1 / √8.
    assert (0.2 < one.std() < 0.5) if name == "T5" else (0 < one.std() < 0.1)
    assert all(torch.equal(first.model.get_parameter(n), held[n]) for n in held if first.head.original(n) and
               n not in first.head.parameters and n in dict(first.model.named_parameters()))  # fmt: skip
    assert len(first.head.parameters) in (1, 2)


def test_renewing_reaches_a_layer_that_only_its_parent_initialises() -> None:
    model = zoo.make("T5")
    before = model.classification_head.out_proj.weight.clone()
    dense = model.classification_head.dense.weight.clone()
    renew(model, "classification_head.out_proj")
    assert not torch.equal(model.classification_head.out_proj.weight, before)
    assert torch.equal(model.classification_head.dense.weight, dense)


# --- positions


@pytest.mark.parametrize(
    ("name", "positions"),
    [("Bert", 40), ("Roberta", 38), ("DistilBert", 40), ("Electra", 40), ("Albert", 40), ("GPT2", 40), ("Bart", 40),
     ("MPNet", 39), ("T5", None), ("XLNet", None)],
)  # fmt: skip
def test_texts_are_cut_where_positions_end(name: str, positions: int | None, tmp_path: Path) -> None:
    loaded = load(saved(tmp_path, name))
    assert loaded.positions == positions
    assert loaded.longest_text(30) == 30
    assert loaded.longest_text(600) == (positions or 600)
    learner = learner_of(loaded)
    token, ending = 20, loaded.tokenizer("")["input_ids"][-1:]
    for length in [positions, positions + 1] if positions else [100]:
        ids = torch.tensor([token] * (length - 1) + ending)
        batch = learner.collate([{"input_ids": ids, "label": 0, "task_id": 0}])
        if positions is None or length <= positions:
            assert learner.logits(batch).isfinite().all()
        else:
            with pytest.raises((IndexError, RuntimeError)):
                learner.logits(batch)


def test_a_run_says_where_texts_are_cut(tmp_path: Path) -> None:
    lines: list[str] = []

    class Warnings(Reporter):
        def warn(self, line: str) -> None:
            lines.append(line)

    folder = saved(tmp_path, "Roberta")
    given = {"scenario": "toy", "scenario_args": SIZES, "strategy": "frozen", "model": str(folder), "max_length": 600}
    result = engine.run(make_plan({**given, "device": "cpu", "output_dir": str(tmp_path)}), Warnings())
    assert result["status"] == "complete"
    cut = "RobertaForSequenceClassification has 38 positions: texts are cut there, not at 600 tokens"
    assert [line for line in lines if "positions" in line] == [cut]


def test_a_prompt_that_takes_positions_must_leave_some_for_the_text(tmp_path: Path) -> None:
    """OPT's positions are counted from the mask, the vectors included; Llama's have no end, BERT's are the text's."""
    import transformers

    settings = transformers.OPTConfig(
        vocab_size=64, hidden_size=8, ffn_dim=12, num_hidden_layers=1, num_attention_heads=2, word_embed_proj_dim=8,
        max_position_embeddings=40, num_labels=6, pad_token_id=0, eos_token_id=1, bos_token_id=3,
    )  # fmt: skip
    folder = tmp_path / "opt"
    transformers.OPTForSequenceClassification(settings).save_pretrained(folder)
    zoo.tokenizer(0, 1, list(words())).save_pretrained(folder)
    loaded = load(folder)
    assert loaded.positions == 40
    learner = learner_of(loaded)
    learner.longest_text = 30
    line = line_of(strategy, "prompt_tuning", learner, prompt_length=11)
    assert line == (
        "11 vectors before texts of up to 30 tokens need 41 positions, and OPTForSequenceClassification has 40; "
        "allowed: --max-length 29 or less, or fewer vectors"
    )
    learner = learner_of(load(folder))
    learner.longest_text = 30
    strategy("prompt_tuning", learner, prompt_length=10)
    ids = torch.full((30,), 20)
    assert learner.logits(learner.collate([{"input_ids": ids, "label": 0, "task_id": 0}])).isfinite().all()
    # All tasks' prompts together are what a progressive prompt grows to.
    learner = learner_of(load(folder))
    learner.longest_text = 30
    assert "12 vectors before" in line_of(strategy, "progressive_prompts", learner, prompt_length=6)


# --- tokens


def test_token_ids_beyond_the_embeddings_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Bert")
    zoo.tokenizer(0, 1, [f"w{n}" for n in range(60)] + ["kitchen"]).save_pretrained(folder)
    loaded = load(folder)  # a vocabulary may be larger, as long as no text uses what is beyond
    ids = tokenise(["w1 w2", "kitchen"], loaded.tokenizer, 16)
    loaded.check_tokens(ids[:1])
    line = line_of(loaded.check_tokens, ids)
    assert line == (
        "the tokenizer gives 'kitchen' the number 64, and BertForSequenceClassification has embeddings for 0 to 63; "
        "allowed: a model and its own tokenizer"
    )


def test_special_tokens_beyond_the_embeddings_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Llama")
    tokenizer = zoo.tokenizer(0, 1, list(words()))
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})
    tokenizer.save_pretrained(folder)
    assert "its tokenizer's token 64 (padding) has no embedding, there are 64" in line_of(load, folder)


@pytest.mark.parametrize("name", ["Llama", "GPT2", "Bert"])
def test_a_tokenizer_without_padding(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, name)
    for file, keys in (
        ("tokenizer_config.json", ("pad_token", "eos_token")),
        ("tokenizer_config.json", ("unk_token",)),
    ):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({k: v for k, v in content.items() if k not in keys}))
        if "unk_token" not in keys:
            assert load(folder).tokenizer.pad_token == "[UNK]"
    line = line_of(load, folder)
    assert "its tokenizer has no padding token, and neither an end-of-text nor an unknown token for it" in line


def test_the_end_of_a_text_written_in_a_text_is_no_end(tmp_path: Path) -> None:
    """BART's code refuses a batch whose texts have several."""
    loaded = load(saved(tmp_path, "Bart"))
    ids = tokenise(["kitchen [SEP] door", "kitchen"], loaded.tokenizer, 16)
    assert [int((row == loaded.tokenizer.eos_token_id).sum()) for row in ids] == [1, 1]
    learner = learner_of(loaded)
    batch = learner.collate([{"input_ids": row, "label": 0, "task_id": 0} for row in ids])
    assert learner.logits(batch).shape == (2, 6)


@pytest.mark.parametrize("name", ["GPT2", "Llama"])
@pytest.mark.parametrize("method", ["naive", "ncm", "prompt_tuning", "feature_distillation", "lora_per_task"])
def test_a_text_without_any_token_is_the_end_of_a_text(name: str, method: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, name)
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    loaded = load(folder)
    assert loaded.tokenizer("")["input_ids"] == []
    found = tokenise(["", "kitchen", " "], loaded.tokenizer, 16)
    assert found[0].tolist() == found[2].tolist() == [loaded.tokenizer.eos_token_id]
    learner = learner_of(loaded)
    if (name, method) == ("GPT2", "prompt_tuning"):
        return
    built = strategy(method, learner)
    examples = [{"input_ids": ids, "label": 0, "task_id": 0} for ids in found]
    learner.model.eval()
    with torch.no_grad():
        together = built.predict(learner, learner.collate(examples), 0)
        if together is None:
            together = learner.logits(learner.collate(examples))
        alone = built.predict(learner, learner.collate(examples[:1]), 0)
        if alone is None:
            alone = learner.logits(learner.collate(examples[:1]))
    assert together.isfinite().all()
    assert torch.allclose(together[:1], alone, rtol=1e-3, atol=1e-5)
    assert torch.allclose(together[0], together[2], rtol=1e-3, atol=1e-5)


def test_a_model_that_reads_padding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertModel

    folder = saved(tmp_path, "Bert")
    forward = BertModel.forward

    def without_mask(self: Any, input_ids: Tensor, attention_mask: Tensor, **more: Any) -> Any:
        return forward(self, input_ids, torch.ones_like(attention_mask), **more)

    monkeypatch.setattr(BertModel, "forward", without_mask)
    assert "padding changes its answers" in line_of(load, folder)


# --- sizes and names


def test_a_billion_layers_are_refused_at_once(tmp_path: Path) -> None:
    for name, key in (("Bert", "num_hidden_layers"), ("DistilBert", "n_layers"), ("Bart", "decoder_layers")):
        folder = saved(tmp_path, name)
        edit(folder, **{key: 10**9})
        assert f"its config.json says {key} = 1000000000, allowed are at most 10000" in line_of(load, folder)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("lora_sequential(rank=10**12)", "lora_sequential: rank=1000000000000; allowed: 1 to 64,"),
        ("adapter(bottleneck=10**12)", "adapter: bottleneck = 1000000000000; allowed: 1 to 1024,"),
        ("ia3(learning_rate=1e300)", "learning_rate = 1e+300 is not allowed (beyond fp32)"),
        ("ewc(ewc_lambda=1e308)", "ewc_lambda = 1e+308 is not allowed (beyond fp32); allowed: numbers up to 3.4e+38"),
        ("prompt_tuning(prompt_length=10**12)", "prompt_length 1 to 10000"),
        ("progressive_prompts(prompt_length=10**12)", "prompt_length 1 to 10000"),
        ("p_tuning_v2(prompt_length=10**12)", "prompt_length 1 to 10000"),
        ("prefix_tuning(hidden_size=10**12)", "prefix_length and hidden_size 1 to 10000"),
        ("ranpac(width=10**12)", "width 1 to 50000"),
        ("klda(width=10**12)", "width 1 to 50000"),
    ],
)
def test_numbers_that_no_memory_holds(expression: str, said: str, tmp_path: Path) -> None:
    expression = expression.replace("10**12", str(10**12))
    given = {"scenario": "toy", "scenario_args": SIZES, "strategy": expression, "device": "cpu"}

    def run() -> None:
        engine.run(make_plan({**given, "output_dir": str(tmp_path)}), Reporter())

    assert said in line_of(run)


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "Bert")
    for named in (model_identity, load_missing):
        line = line_of(named, "Bertt")
        assert line.startswith(
            "model 'Bertt' is no folder here; did you mean 'Bert'? as a hub id it cannot be loaded: "
        )
    assert line_of(model_identity, "./Bertt").startswith("model folder './Bertt' does not exist; did you mean 'Bert'? ")
    assert line_of(model_identity, "qq").startswith("model 'qq' is no folder here; as a hub id it cannot be loaded: ")


def load_missing(name: str) -> LoadedModel:
    made: list[Task] = tasks()
    config = make_config({"scenario": "toy", "strategy": "naive", "model": name, "max_length": 16})
    return load_model(config, made, 6, torch.device("cpu"))
