"""Loads or makes a model, its tokenizer and its output layer."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.models.determinism import deterministic as deterministic
    from clbench.models.hardware import (
        choose_device as choose_device,
        choose_precision as choose_precision,
        describe_hardware as describe_hardware,
        device_is_there as device_is_there,
        device_name as device_name,
        peak_memory as peak_memory,
        processor as processor,
        refuse_several_processes as refuse_several_processes,
        release_memory as release_memory,
        reset_peak_memory as reset_peak_memory,
        unused_accelerator as unused_accelerator,
    )
    from clbench.models.identity import model_identity as model_identity
    from clbench.models.libraries import (
        import_libraries as import_libraries,
        survive_torchvision as survive_torchvision,
    )
    from clbench.models.linear import OneDNNLinear as OneDNNLinear, use_onednn as use_onednn
    from clbench.models.loading import load_model as load_model
    from clbench.models.memory import (
        exhaustion_told as exhaustion_told,
        halve_until_it_fits as halve_until_it_fits,
        is_out_of_memory as is_out_of_memory,
    )
    from clbench.models.pretrained import LoadedModel as LoadedModel
    from clbench.models.probe import Lookups as Lookups, same_logits as same_logits

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
