"""The command line. Start-up is light: torch and the rest are imported inside the commands that need them."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from clbench import __version__
from clbench.errors import ClbenchError
from clbench.text import clean

app = typer.Typer(
    rich_markup_mode=None, pretty_exceptions_enable=False, help=(
        "Which remedy to use when a fine-tuned model forgets: runs sequences of tasks through strategies, records the "
        "accuracy and forgetting matrices and compares the strategies and their costs."
    ),
)  # fmt: skip

ScenarioArguments = Annotated[
    list[str] | None, typer.Option(metavar="K=V", help="an argument of the scenario; may be repeated")
]
Paths = Annotated[list[Path] | None, typer.Argument(metavar="[PATH ...]", help="results or run folders [results]")]
On = Annotated[
    str | None, typer.Option(metavar="ray", help="run on a cluster of Ray's, as many at once as there is room for")
]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT|auto", help="of --on ray: the cluster [RAY_ADDRESS, or this machine]")
]
Resources = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", help="of --on ray: what each run has, such as CPU=4 or GPU=0.5; may be repeated"),
]


def complete_scenario(incomplete: str) -> list[str]:
    """What ``incomplete`` may become: a scenario's name, or a path."""
    return _completed(incomplete, ("scenario",))


def complete_plugin(incomplete: str) -> list[str]:
    """What ``incomplete`` may become: the name of a scenario or strategy, or a path."""
    return _completed(incomplete, ("scenario", "strategy"))


def _completed(incomplete: str, kinds: Sequence[str]) -> list[str]:
    from glob import escape, glob

    from clbench import plugins, presets

    known = [name for kind in kinds for name in plugins.available(kind)] + list(presets.available_presets())
    names = [name for name in known if name.startswith(incomplete)]
    paths = sorted(glob(f"{escape(os.path.expanduser(incomplete))}*"))
    return names + [path + os.sep if os.path.isdir(path) else path for path in paths]


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and end")] = False,
) -> None:
    """Without a command: the help, or the version."""
    if version:
        print(f"clbench {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


class _SavingCommand(TyperCommand):
    """``run`` or ``resume``, where ``--save-model`` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give the option its default value where ``each`` does not follow."""
        spelled = []
        for place, word in enumerate(args):
            spelled.append(word)
            if word == "--save-model" and args[place + 1 : place + 2] != ["each"]:
                spelled.append("final")
        return super().parse_args(ctx, spelled)


@app.command(cls=_SavingCommand)
def run(
    scenario: Annotated[
        str | None,
        typer.Option(
            help="name of a scenario, a .py file, or your data: a file (.csv, .tsv, .jsonl, .json, .parquet), a folder "
            "or hub:OWNER/NAME",
            autocompletion=complete_scenario,
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help='expression such as "replay(memory_size=0.05)+ewc"; may be repeated')
    ] = None,
    model: Annotated[str | None, typer.Option(help="a name of `list models`, a hub id or a folder")] = None,
    setting: Annotated[str | None, typer.Option(help="task, domain or class")] = None,
    seed: Annotated[list[str] | None, typer.Option(help="a seed [0], several as 0-4 or 0,2,5; may be repeated")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over each task's training data")] = None,
    lr: Annotated[float | None, typer.Option(help="peak learning rate of the pretrained body")] = None,
    head_lr: Annotated[float | None, typer.Option(help="peak learning rate of the output layer")] = None,
    batch_size: Annotated[int | None, typer.Option(help="new examples a step")] = None,
    steps: Annotated[int | None, typer.Option(help="optimizer steps on each task, in place of epochs")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="learning rates after the warm-up: linear or cosine (to 0), or constant")
    ] = None,
    warmup: Annotated[float | None, typer.Option(help="share of a task's steps in which the rates rise")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam or sgd")] = None,
    momentum: Annotated[float | None, typer.Option(help="of sgd")] = None,
    optimizer_state: Annotated[
        str | None, typer.Option(help="fresh in each task, or carried from task to task")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="of weights but biases, norms and output layer")] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="clip gradients to this norm; inf for no clipping")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="tokens after which a text is cut")] = None,
    scenario_arg: ScenarioArguments = None,
    limit: Annotated[int | None, typer.Option(help="use at most so many train and test examples a task")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:n")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16")] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="the same bits each time on a GPU too, or a line that says why not")
    ] = False,
    evaluate: Annotated[str | None, typer.Option(help="all tasks after each, or only those seen")] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="also measure the tasks learned so far each so many steps, on few examples")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="train with torch.compile: pays on GPUs, in long runs")
    ] = False,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="compute each layer again in the backward pass instead of keeping its activations: less memory, the "
            "same result, one more forward pass a step",
        ),
    ] = False,
    frozen_precision: Annotated[
        str | None, typer.Option(help="bf16 keeps a frozen body's weights in 16 bits, with --precision bf16")
    ] = None,
    tuned: Annotated[
        Path | None, typer.Option(metavar="FILE", help="take each strategy's values from what `tune` wrote")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options given here win")] = None,
    output_dir: Annotated[str | None, typer.Option(help="where run folders go [results]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="run a finished configuration anew")] = False,
    checkpoint_every: Annotated[int | None, typer.Option(help="also save the state every so many steps")] = None,
    keep_checkpoints: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoints",
            help="keep the last checkpoint, the whole state at the end, for a look at it; the model to use: "
            "--save-model",
        ),
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="print where the time went, and store it")] = False,
    auto_batch: Annotated[
        bool, typer.Option("--auto-batch", help="when memory runs out, halve the micro-batch, same effective batch")
    ] = False,
    keep_head: Annotated[
        bool, typer.Option("--keep-head", help="of the model's own output layer keep the rows of labels of equal names")
    ] = False,
    batch_norm: Annotated[
        str | None, typer.Option(help="statistics of an image model's batch normalisation: frozen or updated")
    ] = None,
    ability: Annotated[
        bool, typer.Option("--ability", help="after each task also measure what the model could do before training")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="after each task also fit a linear probe to the features of every task")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run the code that a hub model brings with it")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="load a model's weights also where they are not safetensors")
    ] = False,
    save_model: Annotated[
        str | None,
        typer.Option(metavar="[each]", help="keep the trained model in the run's folder; each: also after each task"),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="tell a tracker, too: tensorboard, wandb, mlflow or trackio; may be repeated"),
    ] = None,
    jobs: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="run so many at once, each on cores or a GPU of its own [1]"),
    ] = None,
    jobs_per_gpu: Annotated[int | None, typer.Option(metavar="N", help="of --jobs: how many share a GPU [1]")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="only every N-th run from the K-th on, as for one of N machines")
    ] = None,
    on: On = None,
    address: Address = None,
    resources: Resources = None,
    sharing: Annotated[
        bool,
        typer.Option("--sharing/--no-sharing", help="of several runs do once what is the same for all"),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, print the plan, run nothing")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="no progress")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="more progress")] = False,
) -> int:
    """Run strategies on a scenario; several strategies or seeds end with a comparison.

    A finished configuration prints its result again, an unfinished one resumes.
    """
    from clbench.commands import dry_run as checks, launched, planning, side_by_side
    from clbench.parallel import read_jobs, read_part

    at_once = read_jobs("auto" if jobs is None and jobs_per_gpu is not None else jobs)
    own = None if part is None else read_part(part)
    options = {
        "scenario": scenario, "model": model, "setting": setting, "epochs": epochs, "lr": lr,
        "head_lr": head_lr, "batch_size": batch_size, "max_length": max_length, "limit": limit, "device": device,
        "task_steps": steps, "schedule": schedule, "warmup": warmup, "optimizer": optimizer, "momentum": momentum,
        "optimizer_state": optimizer_state, "weight_decay": weight_decay, "max_grad_norm": max_grad_norm,
        "precision": precision, "output_dir": output_dir, "overwrite": overwrite or None,
        "checkpoint_every": checkpoint_every, "keep_checkpoints": keep_checkpoints or None,
        "auto_batch": auto_batch or None, "deterministic": deterministic or None, "evaluate": evaluate,
        "evaluate_every": evaluate_every, "compile": compile or None, "profile": profile or None,
        "save_model": save_model, "keep_head": keep_head or None, "batch_norm": batch_norm,
        "ability": ability or None, "probe": probe or None, "track": track or None,
        "trust_remote_code": trust_remote_code or None, "allow_pickle": allow_pickle or None,
        "gradient_checkpointing": gradient_checkpointing or None, "frozen_precision": frozen_precision,
    }  # fmt: skip
    given = {key: value for key, value in options.items() if value is not None}
    with launched.met(jobs, jobs_per_gpu, on):
        plans = planning.plan_runs(given, strategy or [], seed or [], scenario_arg or [], config, tuned, own)
        where, told = (plans[0].config.device, plans[0].config.track) if plans else ("cpu", ())
        demand = side_by_side.find_demand(where, told, on, address, resources or [], jobs, jobs_per_gpu)
        verbosity = -1 if quiet else int(verbose)
        if dry_run:
            if demand is None and plans:
                side_by_side.find_slots(where, len(plans), at_once, jobs_per_gpu)  # refused here, too
            return checks.print_plans(plans)
        if demand is not None:
            return side_by_side.run_on_ray(plans, verbosity, address, demand, sharing)
        return side_by_side.run_with_jobs(plans, verbosity, at_once, jobs_per_gpu, sharing)


@app.command(cls=_SavingCommand)
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of an unfinished run")],
    save_model: Annotated[
        str | None,
        typer.Option(metavar="[each]", help="keep the trained model; a finished run without one is trained again"),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="no progress")] = False,
) -> int:
    """Go on with an unfinished run."""
    from clbench.commands import launched, planning, run as runner

    with launched.met():
        return runner.run_plans([planning.plan_again(run, save_model)], verbosity=-1 if quiet else 0)


@app.command()
def advise(
    scenario: Annotated[str, typer.Argument(metavar="DATA|SCENARIO", help="a data file or folder, or a scenario")],
    scenario_arg: ScenarioArguments = None,
    model: Annotated[str | None, typer.Option(help="a name, a hub id or a folder")] = None,
    setting: Annotated[str | None, typer.Option(help="task, domain or class")] = None,
    keep_data: Annotated[str | None, typer.Option(help="may examples of past tasks be kept: yes or no [yes]")] = None,
    task_known: Annotated[
        str | None, typer.Option(help="is an example's task known when the model is used: yes or no [by the setting]")
    ] = None,
    max_stored: Annotated[str | None, typer.Option(metavar="SIZE", help="kept beside the model, such as 10MB")] = None,
    max_overhead: Annotated[float | None, typer.Option(help="wall time against naive fine-tuning, such as 1.5")] = None,
    budget: Annotated[str, typer.Option(metavar="DURATION", help="for all runs, such as 30m or 2h")] = "30m",
    seeds: Annotated[int, typer.Option(help="of the final runs")] = 3,
    metric: Annotated[str, typer.Option(help="what is compared")] = "average_accuracy",
    strategy: Annotated[
        list[str] | None, typer.Option(metavar="EXPR", help="race only this one; may be repeated [all]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over each task in all runs, few data too")] = None,
    lr: Annotated[float | None, typer.Option(help="peak learning rate of the body")] = None,
    head_lr: Annotated[float | None, typer.Option(help="peak learning rate of the output layer")] = None,
    limit: Annotated[int | None, typer.Option(help="cap the train and test examples of each task")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")] = None,
    save_model: Annotated[bool, typer.Option("--save-model", help="keep the recommended strategy's model")] = False,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="advice and runs")] = Path("advice"),
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="no progress")] = False,
) -> int:
    """Recommend a strategy for your data: race those that your constraints allow, within a budget of time.

    A race that was stopped goes on when the same command is given again.
    """
    from clbench.commands import advise

    options = {
        "scenario": scenario, "model": model, "setting": setting, "limit": limit, "device": device, "epochs": epochs,
        "lr": lr, "head_lr": head_lr,
    }  # fmt: skip
    given = {key: value for key, value in options.items() if value is not None}
    print(
        advise.run(
            given, scenario_arg or [], output, keep_data=keep_data, task_known=task_known, max_stored=max_stored,
            max_overhead=max_overhead, budget=budget, seeds=seeds, metric=metric, strategies=strategy or (),
            save_model=save_model, quiet=quiet,
        )
    )  # fmt: skip
    return 0


@app.command()
def tune(
    scenario: Annotated[
        str, typer.Option(help="a scenario, or your data as in `run`", autocompletion=complete_scenario)
    ],
    strategy: Annotated[list[str], typer.Option(metavar="EXPR", help="an expression; may be repeated")],
    trials: Annotated[int, typer.Option(help="values that are tried for each strategy")] = 12,
    tasks: Annotated[int | None, typer.Option(help="use only the first so many tasks, never all [3]")] = None,
    seeds: Annotated[int, typer.Option(help="runs of a trial, whose mean counts")] = 1,
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="K=SPACE", help="what is tried for K: LOW:HIGH, LOW:HIGH:log or A,B,C; may be repeated"),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="DURATION", help="begin no further trials after 30m or 2h")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="a .yaml file")] = Path("tuned.yaml"),
    config: Annotated[
        Path | None, typer.Option(help="YAML file of training settings of all trials; options given here win")
    ] = None,
    scenario_arg: ScenarioArguments = None,
    model: Annotated[str | None, typer.Option(help="a name, a hub id or a folder")] = None,
    setting: Annotated[str | None, typer.Option(help="task, domain or class")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over each task's training data")] = None,
    limit: Annotated[int | None, typer.Option(help="use at most so many train examples a task")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")] = None,
    output_dir: Annotated[str, typer.Option(help="results; trials and their runs go to its folder tuning")] = "results",
    jobs: Annotated[
        str | None, typer.Option(metavar="N|auto", help="trials of so many strategies at once, as in `run` [1]")
    ] = None,
    on: On = None,
    address: Address = None,
    resources: Resources = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="no progress")] = False,
) -> int:
    """Choose learning rates and arguments on dev of the first tasks, with as many trials for each strategy.

    A tuning that was stopped goes on when the same command is given again. Use the file with: run --tuned FILE
    """
    from clbench.commands import tune

    options = {
        "scenario": scenario, "model": model, "setting": setting, "epochs": epochs, "limit": limit, "device": device,
    }  # fmt: skip
    given = tune.read_settings(config, {key: value for key, value in options.items() if value is not None})
    return tune.run(
        given, strategy, scenario_arg or [], search or [], output, output_dir, trials=trials, tasks=tasks, seeds=seeds,
        budget=budget, jobs=jobs, on=on, address=address, resources=resources or [], quiet=quiet,
    )  # fmt: skip


@app.command()
def compare(
    paths: Paths = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="a metric, f1_ or probe_METRIC, ability_lost, overhead, a cost, a .py file; may be repeated"),
    ] = None,
    sort: Annotated[str | None, typer.Option(help="one of the columns: the best first")] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="STRATEGY", help="how sure each row's difference from this one is")
    ] = None,
    format: Annotated[str, typer.Option(help="table, markdown, csv, latex or json")] = "table",
    wide: Annotated[bool, typer.Option("--wide", help="all columns of a table, however narrow the terminal")] = False,
) -> int:
    """Compare finished runs: mean and standard deviation over seeds, costs, the best marked."""
    from clbench.commands import compare

    print(compare.table(paths or [], metric or [], sort, format, wide=wide, baseline=baseline))
    return 0


@app.command()
def report(
    paths: Paths = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="an .html file")] = Path("report.html"),
    baseline: Annotated[
        str | None, typer.Option(metavar="STRATEGY", help="what rows are told to differ from [naive]")
    ] = None,
    texts: Annotated[bool, typer.Option(help="texts of the worst mistakes: runs the scenarios' code")] = True,
) -> int:
    """Write finished runs as one page that needs no network: tables, statistics, plots, mistakes, settings."""
    from clbench.commands import report

    report.write(paths or [], output, baseline, with_texts=texts)
    print(output)
    return 0


@app.command()
def plot(
    kind: Annotated[str, typer.Argument(metavar="curves|matrix|tradeoff|ability|stability|confusion|sensitivity")],
    paths: Paths = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="a .png, .pdf or .svg file")] = ...,  # type: ignore[assignment]
    task: Annotated[list[str] | None, typer.Option(help="confusion: only this task; may be repeated")] = None,
    after: Annotated[int | None, typer.Option(help="confusion: after so many tasks [all]")] = None,
) -> int:
    """Draw finished runs: forgetting curves, accuracy matrices, trade-off, ability left; one run's confusions.

    stability: accuracy inside tasks, of runs with --evaluate-every. sensitivity: of a file that `tune` wrote, the score
    against each value that was tried.
    """
    from clbench.commands import compare

    compare.plot(kind, paths or [], output, task or [], after)
    print(output)
    return 0


@app.command()
def errors(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a finished run")],
    task: Annotated[list[str] | None, typer.Option(help="only this task; may be repeated")] = None,
    after: Annotated[int | None, typer.Option(help="after so many tasks, 0 before training [all]")] = None,
    format: Annotated[str, typer.Option(help="table or json")] = "table",
    wide: Annotated[bool, typer.Option("--wide", help="whole tables and texts, however narrow the terminal")] = False,
) -> int:
    """Show what a run got wrong: scores and confusions of each label, what it lost, its most confident mistakes.

    The texts are read again from the run's scenario, whose code is run.
    """
    from clbench.commands import errors

    print(errors.page(run, task or [], after, format, wide=wide))
    return 0


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="scenarios|strategies|models|runs")],
    paths: Paths = None,
    json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    all: Annotated[
        bool, typer.Option("--all", help="of scenarios: also the presets, whose data lie on the hub")
    ] = False,
) -> int:
    """List what there is."""
    from clbench.commands import listing

    print(listing.list_rows(what, paths or [Path("results")], as_json=json, all=all))
    return 0


@app.command()
def describe(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE|DATA", autocompletion=complete_plugin)],
    scenario_arg: ScenarioArguments = None,
    setting: Annotated[str | None, typer.Option(help="of data: task, domain or class")] = None,
    model: Annotated[str | None, typer.Option(help="of data: whose tokens are counted")] = None,
    max_length: Annotated[int | None, typer.Option(help="of data: tokens after which a text is cut")] = None,
) -> int:
    """Tell what a strategy or scenario does, its arguments and published figures, or what a model is.

    Of your data: tasks, sizes, labels, lengths, what is wrong with them, and what `run` would do.
    """
    from clbench.commands import describe

    arguments = {}
    if scenario_arg:
        from clbench.commands import planning  # not without need: it takes torch

        arguments = planning.key_values(scenario_arg)
    options = {"setting": setting, "model": model, "max_length": max_length}
    print(describe.page(name, arguments, {key: value for key, value in options.items() if value is not None}))
    return 0


@app.command()
def metrics(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a result.json, or a CSV: see docs/numbers.md")],
    format: Annotated[str, typer.Option(help="table or json")] = "table",
) -> int:
    """Compute the metrics of an accuracy matrix, yours or someone else's."""
    from clbench.commands import metrics

    print(metrics.text(file, format))
    return 0


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE|DATA", autocompletion=complete_plugin)],
    scenario_arg: ScenarioArguments = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|double", help="double: a stand-in for a GPU")] = None,
) -> int:
    """Check that a scenario or strategy does what clbench relies on: resumes exactly, leaks no test data, and so on."""
    from clbench import testing
    from clbench.commands import planning

    return testing.report(name, planning.key_values(scenario_arg or []), device)


@app.command()
def data(
    action: Annotated[str, typer.Argument(metavar="pull|list")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME ...]")] = None,
) -> int:
    """Fetch data sets and models beforehand, or list them with their rights."""
    from clbench.commands import data
    from clbench.errors import unknown

    if action == "pull":
        data.pull(names or [])
    elif action == "list":
        print(data.table(names or []))
    else:
        raise unknown("data command", action, ("pull", "list"))
    return 0


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="a run made with --save-model, or a folder with its model")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="a new folder")] = ...,  # type: ignore[assignment]
    task: Annotated[str | None, typer.Option(help="only this task, and its labels")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="merge an adapter into its base model")] = False,
    push: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="also push it to the hub, private")] = None,
) -> int:
    """Write a run's model to a folder that transformers or PEFT loads."""
    from clbench.commands import export

    print(export.write(run, output, task, merge=merge, push=push))
    return 0


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="DIR|RUN", help="what export wrote, or a run made with --save-model")
    ],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT|IMAGE ...]")] = None,
    task: Annotated[str | None, typer.Option(help="whose they are, where that is known")] = None,
    input: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what is asked: a line each, or a column of a table")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="where the answers go [stdout]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:n")] = "auto",
) -> int:
    """Answer texts, prompts or image files: a JSON line each, with probability, task and how the task was found."""
    from clbench.commands import predict

    predict.answer(model, texts or [], task=task, input=input, output=output, device=device)
    return 0


INTERRUPTED = 130  # what typer makes of Ctrl-C, too, and says nothing


def _answer_lost(error: OSError) -> int:
    """stdout takes no more: a pipe that closed early wants no words, a full disk does."""
    # What is still in the buffer must not fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno != errno.EPIPE:
        print(f"error: the answer cannot be written: {error.strerror}", file=sys.stderr)
    return 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 a run failed, 2 wrong usage or bad input, 130 interrupted."""
    # Huge pages: fresh memory for activations and gradients is most of what a CPU's step spends outside its products.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Names may hold what the terminal's encoding does not, and paths bytes of no encoding.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = int(app(arguments, standalone_mode=False, prog_name="clbench") or 0)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF) or error.filename is not None:
            raise
        return _answer_lost(error)
    except ClbenchError as error:
        # A plug-in's own message may have several lines; ours is one.
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        # Usage errors of the option parser; anything else is a defect of ours and shows its traceback.
        if not hasattr(error, "format_message"):
            raise
        print(f"error: {clean(' '.join(error.format_message().split()))}", file=sys.stderr)
        return 2
