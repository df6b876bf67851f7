"""``tclr embed``: export embeddings and AUs to Parquet."""

from __future__ import annotations

from pathlib import Path

import click

from tclr.cli.options import settings_options
from tclr.schemas.config import EmbedConfig

AU_SOURCES = {
    "head": "the trained head",
    "blendshapes": "mediapipe's blendshapes (no trained head was given)",
    "none": "nowhere, so there are no AU columns: the store has no blendshapes (only the mediapipe detector gives "
    "them) and no head was given. Fit one with 'tclr fit-au' and pass it as --au-model",
}


@click.command("embed")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("features", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    help="Encoder file, run folder of 'tclr pretrain', 'random', or 'random:ARCH'; a fine-tuned head's file is one, "
    "too. Needed for embeddings and heads.",
)
@click.option("--au-model", type=click.Path(path_type=Path), help="Head of 'tclr fit-au'  [default: blendshapes]")
@settings_options(embed=EmbedConfig)
def command(store: Path, features: Path, encoder: str | None, au_model: Path | None, embed: EmbedConfig) -> None:
    """Export per-frame embeddings and Action Units of STORE to Parquet files in the folder FEATURES.

    Without --au-model, AUs come from mediapipe's blendshapes by a documented FACS mapping, so the first run needs
    no labels; the files' metadata say which of the two it was. Run the same command again to go on after an
    interruption.

    \b
    Example:
      tclr embed store/ features/ --encoder run/ --au-model au.safetensors
      tclr embed store/ features/ --encoder random
      tclr embed store/ features/ --embedding none --smooth 0.1 --columns "AU*,pitch,yaw,roll"
    """
    from tclr.cli.progress import progress_bar
    from tclr.pipeline.embed import embed as export
    from tclr.pipeline.encoder import load_encoder

    with progress_bar("Embedding", "frames") as progress:
        loaded = load_encoder(encoder, seed=embed.seed) if encoder else None
        result = export(store, features, loaded, embed, au_model=au_model, progress=progress)
    click.echo(
        f"{features}: {result.n_rows:,} rows, {result.n_clips} clips ({result.n_skipped} were done before), "
        f"{result.n_columns} columns"
    )
    click.echo(f"AUs come from {AU_SOURCES[result.au_source.split(':')[0]]}.")
    click.echo(f"Load: pandas.read_parquet({str(features)!r})")
