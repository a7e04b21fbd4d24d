"""Learned vectors before a text: as embedded tokens, or as keys and values of every attention layer.

Both ways leave the text's own tokens at their positions 0, 1, ...: nothing runs past a position table. PEFT's prompts
go in before positions are added and its prefix counts as text seen before, so both move the text to later positions,
and an encoder then answers with a prompt's output in place of the first token's; so the insertion is done here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import PrefixEncoder, PrefixTuningConfig
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models import recomputes_activations
from clbench.rng import seeded_torch
from clbench.toolkit.prompt_trial import plain_logits, try_vectors, unfit

# More learned vectors, or hidden units behind them, are a slip: papers have a few hundred.
MOST_VECTORS = 10_000


def embedded_words(learner: Learner, count: int, stream: torch.Generator) -> nn.Parameter:
    """``count`` words drawn from the vocabulary as the model embeds them at position 0: (count, hidden size).

    Lester et al. 2021, section 3.2, "sampled vocabulary": a better start than noise.
    """
    words, layer = _embeddings(learner)
    numbers = torch.randint(words.num_embeddings, (count, 1), generator=stream)
    learner.model.eval()  # no dropout
    with torch.no_grad():
        return nn.Parameter(layer(numbers.to(learner.device))[:, 0].clone())


def prepend_prompt(learner: Learner, prompt: Callable[[], Tensor]) -> None:
    """Let the model read ``prompt()`` (tokens, hidden size) in front of each text, as it is asked for.

    The vectors join the embedded text after positions (and the embedding's layer norm) and have no position of their
    own, except where a decoder counts what it reads; padding never hides them. An encoder classifies by its first
    token, which stays the first: they stand behind it, and among tokens without positions order means nothing. A
    decoder reads them first, once for an answer that it writes. The outputs at their places are taken out again, so
    that whatever pools or classifies finds the text's own tokens where they were.

    Raises:
        InputError: the model's forward pass cannot take them.
    """
    words, layer = _embeddings(learner)
    place = 0 if layer is words else 1
    plain = plain_logits(learner)

    tokens, already_read = [0], [False]

    def widen(_: nn.Module, inputs: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        count, places = len(prompt()), keywords.get("position_ids")
        already_read[0] = _goes_on(keywords)
        changed = {"attention_mask": _with_ones(keywords.get("attention_mask"), count)}
        if places is not None:  # as `generate` gives them: the text's alone
            own = torch.arange(0 if already_read[0] else count, device=places.device).expand(len(places), -1)
            changed["position_ids"] = torch.cat([own, places + count], dim=1)
        return inputs, {**keywords, **changed}

    def insert(_: nn.Module, __: Any, embedded: Tensor) -> Tensor:
        if already_read[0]:
            return embedded
        tokens[0] = embedded.shape[1]
        vectors = prompt().to(embedded.dtype).expand(len(embedded), -1, -1)
        return torch.cat([embedded[:, :place], vectors, embedded[:, place:]], dim=1)

    def take_out(_: nn.Module, __: Any, output: Any) -> Any:
        if already_read[0]:
            return output
        hidden = output.last_hidden_state
        if hidden.shape[1] != tokens[0] + len(prompt()):
            raise ValueError(f"{hidden.shape[1]} outputs for {tokens[0]} tokens and {len(prompt())} vectors")
        output.last_hidden_state = torch.cat([hidden[:, :place], hidden[:, place + len(prompt()) :]], dim=1)
        return output

    body = _body(learner)
    body.register_forward_pre_hook(widen, with_kwargs=True)
    layer.register_forward_hook(insert)
    body.register_forward_hook(take_out)
    try_vectors(learner, plain, len(prompt()))


def prepend_keys_and_values(learner: Learner, prefix: Callable[[], Tensor | None]) -> None:
    """Let every attention layer read ``prefix()`` (tokens, layers · 2 · key width) before each text's keys and values.

    A token's row holds, layer by layer, its key and its value, as PEFT's ``PrefixEncoder`` gives them; None for none.

    Raises:
        InputError: the model's forward pass cannot take them, or is done again for gradients.
    """
    if recomputes_activations(learner.model):
        raise InputError(
            "--gradient-checkpointing: a layer that is computed again reads no keys and values from before the text; "
            "allowed: strategies without such a prefix, such as prompt_tuning"
        )
    layers, heads, width = attention_shape(learner)
    plain = plain_logits(learner)

    def prepend(_: nn.Module, inputs: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        vectors = prefix()
        if vectors is None:
            return inputs, keywords
        by_layer = vectors.view(len(vectors), layers, 2, heads, width).permute(1, 2, 3, 0, 4)
        mask, written = _with_ones(keywords.get("attention_mask"), len(vectors)), keywords.get("past_key_values")
        if written is None:
            return inputs, {**keywords, "attention_mask": mask, "past_key_values": _Prefix(by_layer)}
        if not _goes_on(keywords):  # `generate` gives an empty one, and will go on with what it holds
            texts = len(inputs[0] if inputs else keywords["input_ids"])
            for number, (keys, values) in enumerate(by_layer):
                written.update(*(part.expand(texts, -1, -1, -1) for part in (keys, values)), number)
        return inputs, {**keywords, "attention_mask": mask}

    _body(learner).register_forward_pre_hook(prepend, with_kwargs=True)
    vectors = prefix()
    try_vectors(learner, plain, 0 if vectors is None else len(vectors))


def prefix_encoder(learner: Learner, tokens: int, hidden: int | None, *names: str | int) -> PrefixEncoder:
    """PEFT's prefix of ``tokens`` vectors, weights from the seed's stream ``names``; see :func:`prefix_of`.

    Args:
        learner: gives the shape of the attention layers.
        tokens: prefix tokens.
        hidden: units of the two-layer perceptron that the vectors come from; None learns them themselves.
        names: of the random stream.
    """
    layers, heads, width = attention_shape(learner)
    settings = PrefixTuningConfig(
        num_virtual_tokens=tokens,
        num_layers=layers,
        token_dim=heads * width,
        encoder_hidden_size=hidden or 1,
        prefix_projection=hidden is not None,
    )
    with seeded_torch(learner.device, learner.seed, *names):
        return PrefixEncoder(settings).to(learner.device)


def prefix_of(encoder: PrefixEncoder) -> Tensor:
    """The vectors (tokens, layers · 2 · key width) that ``encoder`` stands for now."""
    weight = encoder.embedding.weight
    vectors: Tensor = encoder(torch.arange(len(weight), device=weight.device))
    return vectors


def attention_shape(learner: Learner) -> tuple[int, int, int]:
    """Layers, heads of keys and values, and their width, as the model's configuration gives them.

    Raises:
        InputError: it does not.
    """
    settings: Any = getattr(learner.model, "config", None)
    try:
        heads = settings.num_attention_heads
        width = getattr(settings, "head_dim", None) or settings.hidden_size // heads
        return settings.num_hidden_layers, getattr(settings, "num_key_value_heads", None) or heads, width
    except AttributeError as error:
        raise unfit(learner, error) from error


class _PrefixLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """One layer's prefix; it keeps no text, so that a layer computed again for its gradient reads the same."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys[None], values[None]  # (1, heads, tokens, width)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The prefix and the text's keys and values (examples, heads, tokens, width)."""

        def joined(kept: Tensor, new: Tensor) -> Tensor:
            return torch.cat([kept.to(new.dtype).expand(len(new), -1, -1, -1), new], dim=2)

        return joined(self.keys, key_states), joined(self.values, value_states)


class _Prefix(Cache):  # type: ignore[misc]  # transformers is not typed
    """Every layer's prefix (layers, 2, heads, tokens, width); masks count it, positions do not."""

    def __init__(self, by_layer: Tensor) -> None:
        super().__init__(layers=[_PrefixLayer(keys, values) for keys, values in by_layer])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Where the text's positions begin."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """How many keys stand before the text's."""
        count: int = self.layers[layer_idx].get_seq_length()
        return count


def _body(learner: Learner) -> Any:
    # transformers: the model without the output layer.
    return getattr(learner.model, "base_model", learner.model)


def _embeddings(learner: Learner) -> tuple[nn.Embedding, nn.Module]:
    """The word embeddings, and the layer around them that adds positions (the same where there is none)."""
    body = _body(learner)
    try:
        words = body.get_input_embeddings()
        name = next(name for name, module in body.named_modules() if module is words)
    except (AttributeError, NotImplementedError, StopIteration) as error:
        raise unfit(learner, error) from error
    parent = name.rpartition(".")[0]
    if not parent:
        return words, words
    layer = body.get_submodule(parent).eval()  # no dropout
    with torch.no_grad():  # OPT's words lie in the decoder itself
        embeds = isinstance(layer(torch.ones(1, 1, dtype=torch.int64, device=learner.device)), Tensor)
    return words, layer if embeds else words


def _goes_on(keywords: dict[str, Any]) -> bool:
    """Whether a text's beginning was read before, as where an answer is written token by token."""
    past = keywords.get("past_key_values")
    return past is not None and past.get_seq_length() > 0


def _with_ones(mask: Tensor | None, count: int) -> Tensor | None:
    """Without a mask everything is read, and so are they."""
    return None if mask is None else torch.cat([mask.new_ones(len(mask), count), mask], dim=1)
