"""Small random models of fourteen architectures, saved on the spot as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

VOCABULARY = 64
POSITIONS = 40
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 12}
DECODER = {**LAYERS, "num_key_value_heads": 1, "max_position_embeddings": POSITIONS}
ENCODER = {**LAYERS, "max_position_embeddings": POSITIONS}

# What each architecture's configuration calls its sizes; the class is <name>Config.
SETTINGS: dict[str, dict[str, Any]] = {
    "Bert": ENCODER,
    "Roberta": {**ENCODER, "pad_token_id": 1},
    "DistilBert": {"n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 12, "max_position_embeddings": POSITIONS},
    "Albert": {**ENCODER, "embedding_size": 6},
    "Electra": {**ENCODER, "embedding_size": 6},
    "DebertaV2": {**ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "MPNet": ENCODER,
    "XLNet": {"d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 12},
    "Bart": {
        "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12,
        "max_position_embeddings": POSITIONS,
    },
    "T5": {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2},
    "GPT2": {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS},
    "Llama": DECODER,
    "Qwen2": DECODER,
    "ModernBert": {**ENCODER, "global_attn_every_n_layers": 2, "local_attention": 8},
}  # fmt: skip


def tokenizer(pad: int, eos: int, words: list[str] | None = None) -> Any:
    """One of whole words, with every special token that some architecture wants."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["", "", "[UNK]", "[CLS]"]
    special[pad], special[eos] = "[PAD]", "[SEP]"
    content = special + [w for w in words or [] if w not in special]
    content += [f"word{n}" for n in range(VOCABULARY - len(content))]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(content)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", eos), ("[CLS]", 3))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]", cls_token="[CLS]"
    )


def make(name: str, *, labels: int = 3, headless: bool = False, seed: int = 0, **more: Any) -> Any:
    """The architecture ``name`` with weights large enough that texts differ; ``headless`` without an output layer."""
    import transformers

    eos = {"Roberta": 0}.get(name, 1)
    special = {"pad_token_id": 1 - eos, "eos_token_id": eos, "bos_token_id": 3, "cls_token_id": 3, "sep_token_id": eos}
    settings = {"vocab_size": VOCABULARY, "num_labels": labels, **special, **SETTINGS[name], **more}
    if name in ("Bart", "T5"):
        settings["decoder_start_token_id"] = settings["pad_token_id"]
    config = getattr(transformers, f"{name}Config")(**settings)
    kind = transformers.AutoModel if headless else transformers.AutoModelForSequenceClassification
    torch.manual_seed(seed)
    model: Any = kind.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
    return model


def save(name: str, folder: Path, words: list[str] | None = None, **options: Any) -> Path:
    """:func:`make`'s model and a tokenizer of ``words`` in ``folder``."""
    model = make(name, **options)
    model.save_pretrained(folder)
    tokenizer(model.config.pad_token_id, model.config.eos_token_id, words).save_pretrained(folder)
    return folder
