"""``tclr pretrain``: train an encoder without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import PATH, init_option, settings_options
from tclr.cli.output import Command, say, show, warn
from tclr.schemas.config import PretrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tclr.pipeline.pretraining import Measure


@click.command("pretrain", cls=Command)
@click.argument("store", type=PATH)
@click.argument("run", type=PATH)
@init_option
@click.option("--resume/--no-resume", default=True, show_default=True, help="Resume from RUN/checkpoint.pt.")
@settings_options(pretrain=PretrainConfig)
def command(store: Path, run: Path, init: str | None, resume: bool, pretrain: PretrainConfig) -> dict[str, Any] | None:
    """Train an encoder on STORE by temporal consistency, without labels.

    The network learns to rank frames by their distance in time from an anchor (Lu et al., BMVC 2020), and by default
    also how landmarks move (docs/pretraining.md); --recipe paper trains as the paper does. A GPU is used if there is
    one. Run the same command again to resume after an interruption, with the same result.

    The folder RUN gets encoder.safetensors, checkpoint.pt, log.jsonl, config.json, distance.png, quality.json and
    tensorboard/. The table at the end compares the encoder with its start, the weights before training.

    \b
    Example:
      tclr pretrain store/ run/
      torchrun --nproc-per-node 4 -m tclr.cli.main pretrain store/ run/
      tclr pretrain store/ run/ --init resnet18-imagenet.pth --epochs 50
      tclr pretrain store/ run/ --arch mobilenet_v2 --init mobilenet_v2.pth
      tclr pretrain store/ run/ --arch facemesh --init facemesh
      tclr pretrain store/ run/ --image-size 64 --batch-size 8
    """
    from tclr.cli.progress import progress_bar

    with progress_bar("Pretraining", "tuples") as progress:
        from tclr.pipeline.pretraining import pretrain as train

        result = train(store, run, pretrain, init=init, resume=resume, progress=progress, warn=warn)
    if not result.is_main:
        return None
    if result.resumed_at == pretrain.epochs:
        more = "Raise --epochs for more." if pretrain.schedule == "constant" else f"Start a new run with --init {run}."
        say(f"Nothing to do: {run} already has {result.resumed_at} epochs. {more}")
    elif result.resumed_at or result.resumed_step:
        within = f", step {result.resumed_step} of the next" if result.resumed_step else ""
        say(f"Resumed after epoch {result.resumed_at}{within}.")
    last = result.history[-1]
    n_held = len(result.val_subjects)
    held = f"{n_held} held-out subject{'s' * (n_held > 1)}" if n_held else "no subject held out"
    if result.val_subjects:
        held += f": loss {last['val_loss']:.4f}, ranking accuracy {last['val_accuracy']:.3f} (chance 0.5)"
    say(f"Epoch {last['epoch']}: training loss {last['train_loss']:.4f}; {held}")
    if result.val_subjects:
        say(f"Distance over time: {run / 'distance.png'}")
    _show_quality(result.quality)
    say(f"Encoder: {result.encoder}")
    say(f"Next: tclr fit-au {store} --encoder {run} -o au.safetensors")
    say(f"  or: tclr embed {store} features/ --encoder {run}")
    return {name: value for name, value in vars(result).items() if name != "is_main"}


def _show_quality(measures: Sequence[Measure]) -> None:
    """Show what the run is worth, compared with its start."""
    from rich.table import Table

    if not measures:
        return
    table = Table(title="Is it any good?")
    for header in ("measure", "trained", "start", "good is", "this run"):
        table.add_column(header, justify="right" if header in ("trained", "start") else "left")
    for measure in measures:
        numbers = (f"{value:.3g}" for value in (measure.trained, measure.start))
        table.add_row(measure.name, *numbers, measure.good, measure.verdict)
    show(table)
