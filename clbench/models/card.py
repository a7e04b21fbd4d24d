"""The model card of a kept model: what it is, what it was measured at, and the lines that load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clbench.models.deployment import BASE, LINEAR, Deployment
from clbench.models.model_kinds import is_timm, reads_images
from clbench.models.safe_weights import read_json
from clbench.sources import BUILT_IN, HUB_IDS, model_path
from clbench.text import escape_markdown, fixed

LINEAR_CODE = [
    f'linear = load_file(folder + "/{LINEAR}")',
    "states = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state.double()",
    'present = inputs["attention_mask"].double()[:, :, None]',
    'logits = (states * present).sum(1) / present.sum(1) @ linear["weight"].T + linear["bias"]',
]
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
        pipeline_tag=deployment.asks.pipeline,
        base_model=name if on_hub else None,
        tags=["clbench", "continual-learning"],
    )
    lines = ["---", data.to_yaml(), "---", "", *_about(deployment), "", *_numbers(deployment.results)]
    timm = reads_images(deployment.asks) and is_timm(read_json(str(folder), "config.json"))
    lines += ["", "## Use", "", *_use(deployment, timm), ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _about(deployment: Deployment) -> list[str]:
    run = deployment.run
    only = f", cut to the task {escape_markdown(deployment.task)}" if deployment.task else ""
    tasks = ", ".join(escape_markdown(task.name) for task in deployment.tasks)
    return [
        f"# {escape_markdown(run.strategy)} on {escape_markdown(run.scenario)}",
        "",
        f"`{run.model}`, fine-tuned on {tasks} one after the other with the strategy `{run.strategy}` (setting "
        f"{run.setting}, seed {run.seed}) by clbench {deployment.clbench}{only}. "
        f"{deployment.asks.limit_told(deployment.limits)}; the run computed in {deployment.precision}.",
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


def _use(deployment: Deployment, timm: bool) -> list[str]:
    """How to load it, in code that needs no clbench where there is such code."""
    example = f'"{deployment.asks.asked_example}"'
    asked = "--input FILE.jsonl  # text and text_pair on each line" if deployment.pairs else example
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
    return [*warned, "```python", *_code(deployment, timm), "```", "", *_reading(deployment), "", *command]


def _code(deployment: Deployment, timm: bool) -> list[str]:
    code, model = deployment.asks.input_code(deployment.limits), deployment.asks.auto_class
    own, imports, names = [f"model = {model}.from_pretrained(folder)"], list[str](), [model]
    if timm:
        own = ['model = timm.create_model("local-dir:" + folder, pretrained=True).eval()']
        imports, names = ["import timm"], []
    if deployment.form == "adapter":
        own, imports = _adapter_code(deployment, timm), [*imports, "from peft import PeftModel"]
        names += [] if timm else ["AutoConfig"]
    asked = 'model(inputs["pixel_values"])' if timm else "model(**inputs).logits"
    lines = [*own, f"logits = {asked}", *code.answer]
    if deployment.form == "linear":
        imports, names, lines = ["from safetensors.torch import load_file"], ["AutoModel"], LINEAR_CODE
    if names := sorted((*names, *code.names)):
        imports.append(f"from transformers import {', '.join(names)}")
    return [*code.imports, *imports, "", *code.lines, *lines]


def _adapter_code(deployment: Deployment, timm: bool) -> list[str]:
    named = HUB_IDS.get(deployment.base, deployment.base)
    if timm:
        base = f"local-dir:{named}" if Path(named).is_dir() else f"hf-hub:{model_path(named)}"
        return [
            f"base = timm.create_model({base!r}, pretrained=True)",
            f"base.reset_classifier({len(deployment.labels)})",
            "model = PeftModel.from_pretrained(base, folder).eval()",
        ]
    base = f'folder + "/{BASE}"' if deployment.base == BASE else repr(named)
    return [
        "config = AutoConfig.from_pretrained(folder)",
        f"base = {deployment.asks.auto_class}.from_pretrained(",
        f"    {base}, config=config, ignore_mismatched_sizes=True",
        ")",
        "model = PeftModel.from_pretrained(base, folder)",
    ]


def _reading(deployment: Deployment) -> list[str]:
    """Which of the logits answer."""
    if not deployment.asks.over_labels:
        return []
    if len(deployment.tasks) > 1 and deployment.run.setting == "task":
        rows = [f"- {escape_markdown(task.name)}: {_span(task.columns)}" for task in deployment.tasks]
        if deployment.task:
            rows = [row for row, task in zip(rows, deployment.tasks, strict=True) if task.name == deployment.task]
        noun = deployment.asks.noun
        return [f"The task is known: of a {noun}'s logits those of its task's labels compete, by number", "", *rows]
    if len(deployment.candidates) < len(deployment.labels):
        return [f"The labels learned so far compete: {_span(deployment.candidates)}."]
    return ["All labels compete; their names are in `config.json`."]


def _span(columns: list[int]) -> str:
    """Numbers in few characters: ``3-5`` where they follow each other."""
    together = columns == list(range(columns[0], columns[-1] + 1)) and len(columns) > 2
    return f"{columns[0]}-{columns[-1]}" if together else ", ".join(map(str, columns))
