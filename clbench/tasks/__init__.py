"""From rows and files to tasks: splits, checks, label spaces, tokens."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.tasks import sequences as sequences, splits as splits
    from clbench.tasks.checks import check_tasks as check_tasks
    from clbench.tasks.content import data_hash as data_hash
    from clbench.tasks.csv_tasks import read_csv_tasks as read_csv_tasks
    from clbench.tasks.data_rows import Row as Row
    from clbench.tasks.data_sources import (
        is_data as is_data,
        place_of as place_of,
        read_source as read_source,
        short_name as short_name,
    )
    from clbench.tasks.hub import file_splits as file_splits, hub_splits as hub_splits
    from clbench.tasks.images import draw_images as draw_images
    from clbench.tasks.labels import label_space as label_space
    from clbench.tasks.limiting import limit_task as limit_task
    from clbench.tasks.own_data import OwnData as OwnData, data_scenario as data_scenario
    from clbench.tasks.rows import (
        image_dataset as image_dataset,
        task_from_rows as task_from_rows,
        task_from_splits as task_from_splits,
        text_dataset as text_dataset,
    )
    from clbench.tasks.sequences import answer_dataset as answer_dataset, token_dataset as token_dataset
    from clbench.tasks.splits import balanced_counts as balanced_counts, draw as draw, same_text as same_text
    from clbench.tasks.whole_tables import read_columns as read_columns

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
