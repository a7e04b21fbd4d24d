"""The model card of a kept model: what it is, what it was measured at, and the lines that load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clbench.models.deployment import BASE, LINEAR, Deployment
from clbench.sources import BUILT_IN, HUB_IDS
from clbench.text import escape_markdown, fixed

TOKENS = 'inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")'
PAIRS = TOKENS.replace("texts, ", "texts, text_pairs, ")

# What transformers makes of the folder without a word but a warning.
NO_CLASSIFIER = (
    "Do not load this folder with `AutoModelForSequenceClassification` or `pipeline`: they would put an output layer "
    f"of random weights on it. The linear layer (`{LINEAR}`) reads the mean of the token states, which none of their "
    "classes does. So:"
)


def write_card(folder: Path, deployment: Deployment) -> None:
    """Write README.md into ``folder``."""
    # The hub reads the block between the dashes; the library's class knows how its fields are spelt.
    from huggingface_hub import ModelCardData

    model = deployment.run.model
    name = HUB_IDS.get(model, model)
    on_hub = model in HUB_IDS or not (model in BUILT_IN or Path(name).expanduser().exists())
    library = "peft" if deployment.form == "adapter" else "transformers"
    data = ModelCardData(
        library_name=library,
        pipeline_tag="text-classification",
        base_model=name if on_hub else None,
        tags=["clbench", "continual-learning"],
    )
    lines = ["---", data.to_yaml(), "---", "", *_about(deployment), "", *_numbers(deployment.results)]
    lines += ["", "## Use", "", *_use(deployment), ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _about(deployment: Deployment) -> list[str]:
    run = deployment.run
    only = f", cut to the task {escape_markdown(deployment.task)}" if deployment.task else ""
    tasks = ", ".join(escape_markdown(task.name) for task in deployment.tasks)
    return [
        f"# {escape_markdown(run.strategy)} on {escape_markdown(run.scenario)}",
        "",
        f"`{run.model}`, fine-tuned on {tasks} one after the other with the strategy `{run.strategy}` (setting "
        f"{run.setting}, seed {run.seed}) by clbench {deployment.clbench}{only}. Texts are cut at "
        f"{deployment.max_length} tokens; the run computed in {deployment.precision}.",
    ]


def _numbers(results: dict[str, Any]) -> list[str]:
    """The accuracies and metrics of the run, as tables."""
    lines = ["## What it was measured at", "", f"| task | {results.get('measure', 'accuracy')} |", "| :--- | ---: |"]
    lines += [f"| {escape_markdown(task)} | {_number(value)} |" for task, value in results.get("tasks", {}).items()]
    if metrics := results.get("metrics"):
        lines += ["", "| metric | value |", "| :--- | ---: |"]
        lines += [f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in metrics.items()]
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else fixed(value, 3)


def _use(deployment: Deployment) -> list[str]:
    """How to load it, in code that needs no clbench where there is such code."""
    asked = "--input FILE.jsonl  # text and text_pair on each line" if deployment.pairs else '"a text"'
    command = ["```bash", f"python -m clbench predict FOLDER {asked}", "```"]
    if deployment.form == "strategy":
        return [
            f"{deployment.why[:1].upper()}{deployment.why[1:]}. So `base/` is the model as the run began and `state/` "
            "what the strategy has made of it, remembered training examples included where it keeps any:",
            "",
            *command,
        ]
    if deployment.form == "tasks":
        folders = [f"- {escape_markdown(task.name)}: `{task.folder}`" for task in deployment.tasks]
        return ["A folder of its own answers for each task:", "", *folders, "", *command]
    warned = [NO_CLASSIFIER, ""] if deployment.form == "linear" else []
    return [*warned, "```python", *_code(deployment), "```", "", *_reading(deployment), "", *command]


def _code(deployment: Deployment) -> list[str]:
    tokens = PAIRS if deployment.pairs else TOKENS
    if deployment.form == "model":
        return [
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
            "",
            tokens,
            "model = AutoModelForSequenceClassification.from_pretrained(folder)",
            "logits = model(**inputs).logits",
        ]
    if deployment.form == "adapter":
        base = f'folder + "/{BASE}"' if deployment.base == BASE else repr(HUB_IDS.get(deployment.base, deployment.base))
        return [
            "from peft import PeftModel",
            "from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer",
            "",
            tokens,
            "config = AutoConfig.from_pretrained(folder)",
            "base = AutoModelForSequenceClassification.from_pretrained(",
            f"    {base}, config=config, ignore_mismatched_sizes=True",
            ")",
            "logits = PeftModel.from_pretrained(base, folder)(**inputs).logits",
        ]
    return [
        "from safetensors.torch import load_file",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        tokens,
        f'linear = load_file(folder + "/{LINEAR}")',
        "states = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state.double()",
        'present = inputs["attention_mask"].double()[:, :, None]',
        'logits = (states * present).sum(1) / present.sum(1) @ linear["weight"].T + linear["bias"]',
    ]


def _reading(deployment: Deployment) -> list[str]:
    """Which of the logits answer."""
    if len(deployment.tasks) > 1 and deployment.run.setting == "task":
        rows = [f"- {escape_markdown(task.name)}: {_span(task.columns)}" for task in deployment.tasks]
        if deployment.task:
            rows = [row for row, task in zip(rows, deployment.tasks, strict=True) if task.name == deployment.task]
        return ["The task is known: of a text's logits those of its task's labels compete, by number", "", *rows]
    if len(deployment.candidates) < len(deployment.labels):
        return [f"The labels learned so far compete: {_span(deployment.candidates)}."]
    return ["All labels compete; their names are in `config.json`."]


def _span(columns: list[int]) -> str:
    """Numbers in few characters: ``3-5`` where they follow each other."""
    together = columns == list(range(columns[0], columns[-1] + 1)) and len(columns) > 2
    return f"{columns[0]}-{columns[-1]}" if together else ", ".join(map(str, columns))
