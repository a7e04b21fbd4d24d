"""An image classifier in transformers' format, from a folder or the hub, with a fresh output layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clbench.models.image_model import Preprocessing
from clbench.models.pretrained import MOST_LAYERS, attention_for
from clbench.models.probe import answering_layer
from clbench.models.safe_weights import check_weight_files
from clbench.models.weights import new_parameters, renew

if TYPE_CHECKING:
    from clbench.config import RunConfig


class ProbeImages:
    """One made-up image for a model of ``preprocessing``."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        size = preprocessing.size or (32, 32)
        self.images = torch.rand(1, len(preprocessing.mean), *size, generator=torch.Generator().manual_seed(0))

    def inputs(self) -> dict[str, Tensor]:
        """A model's keyword arguments."""
        return {"pixel_values": self.images}


def load_image_classifier(
    path: str, config: RunConfig, labels: int, device: torch.device
) -> tuple[Any, str, list[str], Preprocessing, str]:
    """The model of the folder or hub id ``path``, in eval mode on the CPU.

    Returns:
        The model, the name of its output layer, the parameters that its checkpoint lacked, what it wants its images to
        be, and a line on the output layer that it brought, empty where it brought none.

    Raises:
        ValueError, OSError and what else the libraries raise: it is damaged, or no image classifier.
    """
    settings, had = _settings(path, config, labels)
    preprocessing = read_preprocessing(_image_processor(path), settings)
    model, loading = _model(path, config, settings, device)
    probe = ProbeImages(preprocessing)
    with torch.no_grad():
        output_layer = answering_layer(model, labels, lambda: model(**probe.inputs()).logits)
    new = new_parameters(model, loading, output_layer, probe)
    statistics = {name for name, _ in model.named_buffers()} & set(loading["missing_keys"])
    if lacking := sorted(name for name in statistics if not name.endswith("num_batches_tracked")):
        raise ValueError(f"{len(lacking)} statistics are not in the checkpoint, such as {lacking[0]}")
    own = {name for name, _ in model.get_submodule(output_layer).named_parameters(prefix=output_layer)}
    brought = own - set(loading["missing_keys"])
    if brought - {name for name, *_ in loading["mismatched_keys"]}:
        renew(model, output_layer)
    note = f"the output layer that {config.model} brings ({had}) is made anew" if brought else ""
    return model, output_layer, new, preprocessing, note


def read_preprocessing(processor: Mapping[str, Any], settings: Any) -> Preprocessing:
    """What a preprocessor_config.json says of size, mean and standard deviation.

    The whole image is resized to what the model's own processor leaves after cutting the middle out, since what matters
    in a small image may lie at its edge.

    Args:
        processor: the file's content.
        settings: the model's, for the number of channels.

    Raises:
        ValueError: it does not say.
    """
    size = _size(processor)
    channels = int(getattr(settings, "num_channels", 3))
    mean, deviation = ([0.0] * channels, [1.0] * channels)
    if processor.get("do_normalize", True):
        mean, deviation = (_numbers(processor, name, channels) for name in ("image_mean", "image_std"))
    # Pixels are in 0..1 here and in 0..255 there; the usual factor of 1/255 leaves ours as they are.
    factor = 255 * float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 255.0
    shift = 1.0 if processor.get("rescale_offset", False) else 0.0
    mean = [(value + shift) / factor for value in mean]
    return Preprocessing(size, tuple(mean), tuple(value / factor for value in deviation))


def _size(processor: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width; None where the processor leaves the size as it is."""
    cropped = processor.get("do_center_crop") and processor.get("crop_size")
    if not cropped and not processor.get("do_resize", True):
        return None
    given = cropped or processor.get("size")
    if isinstance(given, int):
        given = {"shortest_edge": given}
    for names in (("height", "width"), ("shortest_edge",) * 2, ("longest_edge",) * 2):
        if isinstance(given, Mapping) and all(isinstance(given.get(name), int) and given[name] > 0 for name in names):
            return given[names[0]], given[names[1]]
    raise ValueError(f"its preprocessor_config.json gives no size of images, but {str(given)[:60]}")


def _numbers(processor: Mapping[str, Any], name: str, channels: int) -> list[float]:
    given = processor.get(name)
    numbers: list[Any] = given if isinstance(given, list) else [given]
    if not all(isinstance(number, int | float) for number in numbers) or len(numbers) not in (1, channels):
        raise ValueError(f"its preprocessor_config.json has no {name} of {channels} channels, but {str(given)[:60]}")
    return [float(number) for number in numbers] * (channels if len(numbers) == 1 else 1)


def _image_processor(path: str) -> dict[str, Any]:
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        read: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(path)[0]
    except OSError as error:
        raise ValueError(
            "it has no preprocessor_config.json, which says at what size and with what mean it reads images"
        ) from error
    return read


def _settings(path: str, config: RunConfig, labels: int) -> tuple[Any, str]:
    """The model's configuration for ``labels`` labels, and the names of those that it had."""
    from transformers import AutoConfig

    had = AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    names = list((had.id2label or {}).values())
    settings = AutoConfig.from_pretrained(path, num_labels=labels, trust_remote_code=config.trust_remote_code)
    for key, value in vars(settings).items():
        if key.endswith(("dropout", "dropout_prob", "dropout_rate")) and isinstance(value, float | int):
            setattr(settings, key, config.dropout)
        if "layer" in key and isinstance(value, int) and value > MOST_LAYERS:
            raise ValueError(f"its config.json says {key} = {value}, allowed are at most {MOST_LAYERS}")
    return settings, ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")


def _model(path: str, config: RunConfig, settings: Any, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    from transformers import AutoModelForImageClassification

    check_weight_files(path, config.allow_pickle)
    model, loading = AutoModelForImageClassification.from_pretrained(
        path,
        config=settings,
        use_safetensors=None if config.allow_pickle else True,
        trust_remote_code=config.trust_remote_code,
        ignore_mismatched_sizes=True,  # the output layer of another task; it is made anew
        output_loading_info=True,
        dtype=torch.float32,
        attn_implementation=attention_for(device),
    )
    return model.eval(), loading
