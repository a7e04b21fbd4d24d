"""What strategies and scenarios are built from; they import it from here, whatever file it stands in."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench import sources as sources
    from clbench.config import RunConfig as RunConfig
    from clbench.data import IGNORE as IGNORE, upload as upload
    from clbench.kinds import Part as Part
    from clbench.models import load_student as load_student, sum_over_processes as sum_over_processes
    from clbench.rng import generator as generator, seeded_torch as seeded_torch, stream_seed as stream_seed
    from clbench.sources import (
        Rows as Rows,
        answers as answers,
        corpora as corpora,
        images as images,
        token_corpora as token_corpora,
    )
    from clbench.strategy import (
        ALL_SETTINGS as ALL_SETTINGS,
        Choices as Choices,
        Deployable as Deployable,
        Range as Range,
        Stack as Stack,
    )
    from clbench.tasks import (
        answer_dataset as answer_dataset,
        balanced_counts as balanced_counts,
        draw as draw,
        draw_images as draw_images,
        image_dataset as image_dataset,
        read_csv_tasks as read_csv_tasks,
        sequences as sequences,
        splits as splits,
        task_from_rows as task_from_rows,
        task_from_splits as task_from_splits,
        text_dataset as text_dataset,
        token_dataset as token_dataset,
    )
    from clbench.toolkit import lora as lora, merging as merging, running_merges as running_merges
    from clbench.toolkit.ability import (
        AbilityTest as AbilityTest,
        feature_accuracy as feature_accuracy,
        masked_loss as masked_loss,
        masked_tokens as masked_tokens,
        measure_ability as measure_ability,
        next_tokens as next_tokens,
        token_loss as token_loss,
    )
    from clbench.toolkit.adaptive_rank import AdaptiveRank as AdaptiveRank, adaptive_settings as adaptive_settings
    from clbench.toolkit.attributes import temporarily as temporarily
    from clbench.toolkit.best_weights import (
        mean_loss as mean_loss,
        put_weights as put_weights,
        time_to_measure as time_to_measure,
    )
    from clbench.toolkit.buffer import (
        ExampleBuffer as ExampleBuffer,
        Sampling as Sampling,
        check_memory as check_memory,
    )
    from clbench.toolkit.depths import (
        check_layers as check_layers,
        layer_depths as layer_depths,
        layer_names as layer_names,
        split_groups as split_groups,
    )
    from clbench.toolkit.dev_examples import DevExamples as DevExamples
    from clbench.toolkit.evaluator import Evaluation as Evaluation, evaluate_all as evaluate_all
    from clbench.toolkit.fisher import FisherKind as FisherKind, diagonal_fisher as diagonal_fisher
    from clbench.toolkit.frozen_features import (
        MOST_WIDTH as MOST_WIDTH,
        FeatureKind as FeatureKind,
        FrozenFeatures as FrozenFeatures,
        Moments as Moments,
        linear_discriminant as linear_discriminant,
    )
    from clbench.toolkit.importance import (
        PathIntegral as PathIntegral,
        Weights as Weights,
        add_pull as add_pull,
        copy_weights as copy_weights,
        to_device as to_device,
        unit_range as unit_range,
        zeros as zeros,
    )
    from clbench.toolkit.layers import (
        body_layers as body_layers,
        layer_sizes as layer_sizes,
        matching as matching,
        module_layers as module_layers,
        no_such_layer as no_such_layer,
    )
    from clbench.toolkit.lora import (
        add_modules as add_modules,
        add_task_modules as add_task_modules,
        check_arguments as check_arguments,
        check_linear as check_linear,
        learn_on_top as learn_on_top,
        learn_only as learn_only,
        lora_layers as lora_layers,
        lora_settings as lora_settings,
        target_layers as target_layers,
    )
    from clbench.toolkit.probing import probe_tasks as probe_tasks, read_features as read_features
    from clbench.toolkit.recipe import (
        learning_rate_factor as learning_rate_factor,
        make_optimizer as make_optimizer,
        parameter_groups as parameter_groups,
    )
    from clbench.toolkit.rehearsal import (
        ReplayWindow as ReplayWindow,
        divergences as divergences,
        hold_other_rows as hold_other_rows,
        hold_rows as hold_rows,
        join as join,
        memory_gradient as memory_gradient,
        other_rows as other_rows,
        remember as remember,
        stacked as stacked,
        stored_logits as stored_logits,
        stored_outputs as stored_outputs,
    )
    from clbench.toolkit.routing import Router as Router
    from clbench.toolkit.shared_statistics import check_statistics as check_statistics
    from clbench.toolkit.soft_prompts import (
        MOST_VECTORS as MOST_VECTORS,
        embedded_words as embedded_words,
        prefix_encoder as prefix_encoder,
        prefix_of as prefix_of,
        prepend_keys_and_values as prepend_keys_and_values,
        prepend_prompt as prepend_prompt,
    )
    from clbench.toolkit.training import Training as Training

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
