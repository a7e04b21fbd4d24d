"""Loads or makes a model, its tokenizer and its output layer."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.models import ranks as ranks
    from clbench.models.at_hand import tokenizer_at_hand as tokenizer_at_hand
    from clbench.models.card import write_card as write_card
    from clbench.models.deployment import (
        ALLOWED as ALLOWED,
        BASE as BASE,
        FILE as FILE,
        LINEAR as LINEAR,
        STATE as STATE,
        DeployedTask as DeployedTask,
        Deployment as Deployment,
        Form as Form,
        Origin as Origin,
        read_deployment as read_deployment,
    )
    from clbench.models.determinism import deterministic as deterministic
    from clbench.models.exporting import export_model as export_model
    from clbench.models.frozen_precision import (
        check_stored as check_stored,
        store_in_bf16 as store_in_bf16,
        told_as_fp32 as told_as_fp32,
    )
    from clbench.models.given import keep_given as keep_given
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
    from clbench.models.image_folders import is_own as is_own, save_own as save_own
    from clbench.models.libraries import (
        import_libraries as import_libraries,
        survive_torchvision as survive_torchvision,
    )
    from clbench.models.linear import OneDNNLinear as OneDNNLinear, use_onednn as use_onednn
    from clbench.models.live_bytes import LiveBytes as LiveBytes
    from clbench.models.loading import load_model as load_model
    from clbench.models.masked import load_masked as load_masked
    from clbench.models.memory import (
        exhaustion_told as exhaustion_told,
        halve_until_it_fits as halve_until_it_fits,
        is_out_of_memory as is_out_of_memory,
    )
    from clbench.models.model_kinds import check_kind as check_kind, is_made_on_the_spot as is_made_on_the_spot
    from clbench.models.pretrained import LoadedModel as LoadedModel
    from clbench.models.probe import Lookups as Lookups, same_logits as same_logits
    from clbench.models.ranks import sum_over_processes as sum_over_processes
    from clbench.models.recomputation import (
        recompute_activations as recompute_activations,
        recomputes_activations as recomputes_activations,
    )
    from clbench.models.reloading import (
        PlainModel as PlainModel,
        images_per_pass as images_per_pass,
        load_base as load_base,
        padding_id as padding_id,
    )
    from clbench.models.saving import (
        Unfit as Unfit,
        centred as centred,
        check_plain as check_plain,
        label_names as label_names,
        save_adapter as save_adapter,
        save_base as save_base,
        save_classifier as save_classifier,
        save_encoder as save_encoder,
        save_tokenizer as save_tokenizer,
    )
    from clbench.models.students import load_student as load_student

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
