"""A language model in a GGUF file as a folder that transformers loads: weights in 16 bits, settings, tokenizer.

Made with the packages gguf and safetensors alone, so that the files are the same bytes whatever version of transformers
is installed, and can be pinned. Only what Llama models with a byte-level vocabulary need is known here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.doors import is_installed
from clbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
CONTROL = 3  # the type of a token that no text spells


def check_gguf(name: str) -> None:
    """Refuse to make the model ``name`` where the package gguf is not installed.

    Raises:
        InputError: it is not.
    """
    if not is_installed("gguf"):
        raise InputError(f"model {name!r} is made of a GGUF file, which needs gguf: pip install 'clbench[gguf]'")


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model in ``file`` into ``folder`` as ``AutoModelForCausalLM`` and ``AutoTokenizer`` read it."""
    from gguf import GGUFReader
    from safetensors.numpy import save

    reader = GGUFReader(file)
    told = {name: field.contents() for name, field in reader.fields.items()}
    heads = told["llama.attention.head_count"], told["llama.attention.head_count_kv"]
    weights = dict(_weight(tensor, *heads) for tensor in reader.tensors)
    # Not save_file, whose files only their owner may read.
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    special = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding", "unk_token_id": "unknown"}
    ids = {key: told[f"tokenizer.ggml.{name}_token_id"] for key, name in special.items()}
    _write(folder / "config.json", {**_settings(told), **ids})
    del ids["unk_token_id"]
    _write(folder / "generation_config.json", {**ids, "do_sample": False})
    _write(folder / "tokenizer.json", _tokenizer(told))
    _write(folder / "tokenizer_config.json", _tokenizer_settings(told))


def _weight(tensor: Any, heads: int, key_heads: int) -> tuple[str, NDArray[np.float16]]:
    """Its name and values as transformers has them."""
    import numpy as np  # not for what only lists the sources
    from gguf.quants import dequantize

    values = dequantize(tensor.data, tensor.tensor_type)
    *layer, part, _ = tensor.name.split(".")
    if part in ("attn_q", "attn_k"):  # GGUF has the halves of a rotary pair side by side
        count = heads if part == "attn_q" else key_heads
        values = values.reshape(count, len(values) // count // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)
    whole = {"token_embd": "embed_tokens", "output_norm": "norm"}
    name = f"layers.{layer[1]}.{NAMES[part]}" if layer else whole[part]
    return f"model.{name}.weight", np.ascontiguousarray(values, dtype=np.float16)


def _settings(told: dict[str, Any]) -> dict[str, Any]:
    """Of config.json, but for the special tokens."""
    width, heads = told["llama.embedding_length"], told["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": told["llama.feed_forward_length"],
        "num_hidden_layers": told["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": told["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "max_position_embeddings": told["llama.context_length"],
        # GGUF holds 32 bits, which spell out as 9.9999997e-06
        "rms_norm_eps": float(f"{told['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": told["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": told["llama.vocab_size"],
    }


def _tokenizer(told: dict[str, Any]) -> dict[str, Any]:
    """Of tokenizer.json: byte pairs, each digit by itself, as the file's ``tokenizer.ggml.pre``, "smollm", means."""
    tokens, types = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": token, **plain}
            for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind == CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in told["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_settings(told: dict[str, Any]) -> dict[str, Any]:
    tokens = told["tokenizer.ggml.tokens"]
    special = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": told["llama.context_length"],
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{key: tokens[told[f"tokenizer.ggml.{name}_token_id"]] for key, name in special.items()},
        "chat_template": told["tokenizer.chat_template"],
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=None) + "\n", encoding="utf-8", newline="\n")
