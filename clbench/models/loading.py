"""Loads a pretrained model with a fresh output layer, or makes the ``tiny`` one on the spot."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clbench.errors import InputError
from clbench.learner import Learner
from clbench.rng import stream_seed
from clbench.sources import BUILT_IN, model_path

if TYPE_CHECKING:
    from clbench.config import RunConfig
    from clbench.scenario import Task

_operator_schemas: list[Any] = []


def load_model(config: RunConfig, tasks: Sequence[Task], labels: int, device: torch.device) -> tuple[nn.Module, Any]:
    """The model with an output layer of ``labels`` columns, and its tokenizer (None for images).

    Random weights come from the stream "model" of the run's seed; dropout is set to ``config.dropout``.

    Raises:
        InputError: the model is unknown, cannot be loaded, or does not fit the scenario's kind of task.
    """
    import_libraries()
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(config.seed, "model"))
        if tasks[0].kind == "image":
            if config.model != "tiny":
                raise InputError(f"model {config.model!r} does not read images; allowed for image scenarios: tiny")
            model, tokenizer = _tiny_image_model(tasks, labels), None
        elif config.model == "tiny":
            model, tokenizer = _tiny_text_model(tasks, labels, config)
        else:
            model, tokenizer = _pretrained(config, labels, device)
    return model.to(device), tokenizer


def import_libraries() -> None:
    """Import, quietly, the libraries that every run needs: it takes seconds, and only the first time in a process."""
    survive_torchvision()
    import datasets
    import huggingface_hub
    import transformers
    import transformers.conversion_mapping
    import transformers.models.auto.modeling_auto
    import transformers.models.bert.modeling_bert

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()
    # PEFT asks transformers for it by its old name, which is no news to whoever runs clbench.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


def survive_torchvision() -> None:
    """Let transformers, and what imports it, be imported also where torchvision was built for another torch.

    There ``import torchvision`` fails because its compiled operators are missing, and transformers imports it
    whenever it is installed. Declaring the two operators that torchvision's Python code refers to is enough.
    """
    if not _operator_schemas and importlib.util.find_spec("torchvision") is not None:
        try:
            import torchvision  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            library = torch.library.Library("torchvision", "DEF")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _operator_schemas.append(library)


def _pretrained(config: RunConfig, labels: int, device: torch.device) -> tuple[nn.Module, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    path = model_path(config.model)
    try:
        settings = AutoConfig.from_pretrained(path, num_labels=labels, trust_remote_code=config.trust_remote_code)
        for key in vars(settings):
            if key.endswith(("dropout", "dropout_prob", "pdrop")) and isinstance(getattr(settings, key), float | int):
                setattr(settings, key, config.dropout)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=config.trust_remote_code)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=settings,
            use_safetensors=None if config.allow_pickle else True,
            trust_remote_code=config.trust_remote_code,
            # The output layer of another task; it is made anew below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
            # Measured on CPUs: the bf16 backward pass of sdpa is slower than eager attention's.
            attn_implementation="eager" if device.type == "cpu" else None,
        )
        mismatched = {name for name, *_ in loading["mismatched_keys"]}
        if wrong := [name for name in mismatched if not Learner.is_head(name)]:
            raise ValueError(f"the weights of {wrong[0]} have another size than config.json says")
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            raise ValueError("it has no tokenizer: its vocabulary is empty")
        loaded = {name for name, _ in model.named_parameters()} - mismatched - set(loading["missing_keys"])
        if any(Learner.is_head(name) for name in loaded):
            _renew_head(model)
    except Exception as error:  # tokenizers and safetensors raise plain Exceptions for damaged files
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"model {config.model!r} cannot be loaded: {reason}; allowed: {', '.join(BUILT_IN)}, a folder, a hub id"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _renew_head(model: Any) -> None:
    """Random weights for an output layer that came with the pretrained model."""
    for name, module in model.named_modules():
        if Learner.is_head(name):
            for parameter in module.parameters(recurse=False):
                parameter._is_hf_initialized = False
            model._init_weights(module)


def _tiny_text_model(tasks: Sequence[Task], labels: int, config: RunConfig) -> tuple[nn.Module, Any]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=8000, special_tokens=special)
    words.train_from_iterator((text for task in tasks for text in task.train["text"]), trainer)
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    settings = BertConfig(
        vocab_size=words.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=max(config.max_length, 16),
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        num_labels=labels,
        attn_implementation="eager",
    )
    return BertForSequenceClassification(settings), tokenizer


def _tiny_image_model(tasks: Sequence[Task], labels: int) -> nn.Module:
    channels, height, width = torch.tensor(tasks[0].train[0]["image"]).shape
    return SmallConvNet(channels, height, width, labels)


class SmallConvNet(nn.Module):
    """Two 3×3 convolutions, a hidden layer and the output layer: a few ten thousand parameters."""

    def __init__(self, channels: int, height: int, width: int, labels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * ((height + 1) // 2) * ((width + 1) // 2), 64),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(64, labels)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """``.logits`` (examples, labels) of images (examples, channels, height, width)."""
        return SimpleNamespace(logits=self.classifier(self.body(pixel_values)))
