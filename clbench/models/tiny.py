"""The model ``tiny``, made on the spot: two layers with its own tokenizer for texts, a small CNN for images."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from clbench.kinds import find_kind

if TYPE_CHECKING:
    from clbench.config import RunConfig
    from clbench.scenario import Task

# Attention takes the square of them, and an embedding is made for each.
MOST_POSITIONS = 4096


def tiny_text_model(
    tasks: Sequence[Task], labels: int, config: RunConfig, auto_class: str = "AutoModelForSequenceClassification"
) -> tuple[nn.Module, Any]:
    """A BERT of two layers with random weights, and a tokenizer of the words of the training texts."""
    from tokenizers import processors

    tokenizer = tiny_words(tasks, ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tiny_bert(len(tokenizer), labels, most_tokens(config), config.dropout, auto_class), tokenizer


def tiny_bert(
    words: int, labels: int, positions: int, dropout: float, auto_class: str = "AutoModelForSequenceClassification"
) -> nn.Module:
    """A BERT of two layers with random weights that reads so many ``words``; padding is the first of them."""
    import transformers

    settings = transformers.BertConfig(
        vocab_size=words,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=labels,
        attn_implementation="eager",
    )
    model: nn.Module = getattr(transformers, auto_class.replace("AutoModel", "Bert"))(settings)
    return model


def most_tokens(config: RunConfig) -> int:
    """How many positions a model made on the spot has."""
    return min(max(config.max_length, 16), MOST_POSITIONS)


def tiny_language_model(tasks: Sequence[Task], config: RunConfig) -> tuple[nn.Module, Any]:
    """A Llama of two layers with random weights, and a tokenizer of the words of the training prompts and answers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_words(tasks, ["[PAD]", "[UNK]", "[EOS]"])
    tokenizer.eos_token = "[EOS]"
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=most_tokens(config),
        attention_dropout=config.dropout,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(settings), tokenizer


def tiny_words(tasks: Sequence[Task], special: Sequence[str] = ("[PAD]", "[UNK]")) -> Any:
    """A tokenizer of the words of the training texts, after the ``special`` tokens, padding and unknown first."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=8000, special_tokens=list(special), show_progress=False)
    words.train_from_iterator((text for task in tasks for text in find_kind(task.kind).texts(task.train)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


def tiny_image_model(shape: tuple[int, int, int], labels: int) -> nn.Module:
    """A small CNN with random weights for images of ``shape`` (channels, height, width)."""
    return SmallConvNet(*shape, labels)


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
