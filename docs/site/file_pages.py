"""Reference pages of the files: features, store, manifest, evaluation, Action Units, built from the schemas."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from text import code, page, prose, table

from tclr.schemas import action_units, descriptions, features, manifest, predictions, store

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE_AU = "AU01"


def file_pages() -> dict[str, str]:
    """Return the Markdown of the pages by file name."""
    return {
        "features.md": features_page(),
        "store.md": store_page(),
        "manifest.md": manifest_page(),
        "evaluation.md": evaluation_page(),
        "action-units.md": action_units_page(),
    }


def literal_block(docstring: str) -> str:
    """Return the first literal block (after ``::``) of a docstring as a code block."""
    lines = inspect.cleandoc(docstring).split("::\n", 1)[1].strip("\n").splitlines()
    block: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        block.append(line)
    return "```\n" + inspect.cleandoc("\n".join(["", *block])) + "\n```"


def missing_text(value: object) -> str:
    """Return what stands for a missing value."""
    if value is None:
        return "never missing"
    if isinstance(value, float) and np.isnan(value):
        return "NaN"
    return "empty" if value == "" else str(value)


def store_page() -> str:
    """Return the HDF5 layout: files, datasets, attributes."""
    datasets = [
        [
            code(field.name),
            descriptions.DATASETS.get(field.name, ""),
            ", ".join(field.dims),
            field.dtype,
            prose(field.units),
            missing_text(field.missing),
            "always" if field.required else "",
        ]
        for field in store.CLIP_FIELDS.values()
    ]
    statuses = [[str(int(status)), code(status.name), descriptions.STATUSES[status.name]] for status in store.Status]
    head = ["dataset", "meaning", "axes", "type", "unit or values", "without a face", "there"]
    return page(
        "The store",
        f"Format {store.FORMAT_VERSION}: one HDF5 file per subject. Each dataset has a row for every frame of the "
        "source, and the attributes `dims` and `units`; `au`, `au_intensity`, `blendshapes` and `status` have `names`, "
        "too. From Python, `tclr.pipeline.store.Store` reads it; any HDF5 library does, with the plugins of hdf5plugin "
        "for the codecs zstd and lz4.",
        literal_block(store.__doc__ or ""),
        "## Datasets of a clip",
        table(head, datasets),
        "## Status",
        table(["number", "name", "meaning"], statuses),
        "## Attributes of a clip",
        attributes(descriptions.CLIP_ATTRIBUTES),
        "`checksums` is a JSON object with the SHA-256 of each dataset as stored.",
        "## Attributes of a file",
        attributes(descriptions.FILE_ATTRIBUTES),
        "`checksum` is the SHA-256 of these and of the names of the clips; `complete` is written last: a file without "
        "it is not read.",
    )


def attributes(meanings: Mapping[str, str]) -> str:
    """Return one row per attribute."""
    return table(["attribute", "meaning"], [[code(name), meaning] for name, meaning in meanings.items()])


def arrow_name(kind: pa.DataType) -> str:
    """Return a type as pandas' users know it."""
    if pa.types.is_dictionary(kind):
        return "category"
    if pa.types.is_fixed_size_list(kind):
        return f"list of {kind.list_size} {arrow_name(kind.value_type)}"
    return {"int8": "Int8", "int32": "Int32", "double": "float64", "float": "float32"}.get(str(kind), str(kind))


def features_page() -> str:
    """Return the columns of the features."""
    parts = []
    for embedding, dim in (("wide", 256), ("list", 256)):
        schema = features.features_schema(
            [EXAMPLE_AU],
            [EXAMPLE_AU],
            dim,
            blendshapes=embedding == "wide",
            files=True,
            sight=True,
            intensity_aus=[EXAMPLE_AU],
            embedding=embedding,  # type: ignore[arg-type]
        )
        parts.append({field.name: field for field in schema})
    fields = parts[0] | {features.EMBEDDING: parts[1][features.EMBEDDING]}
    rows = [["`subject`", "The person; from the folder's name, not in the file", "category", ""]]
    for name, field in fields.items():
        if (shown := column_pattern(name)) is not None:
            metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
            rows.append([shown, metadata["description"], arrow_name(field.type), metadata["units"]])
    return page(
        "Columns of the features",
        f"Format {features.FORMAT_VERSION}: Parquet files `FEATURES/subject=<id>/<clip>.parquet`, written by "
        "[`tclr embed`](embed.md). `pandas.read_parquet(FEATURES)` gives one row per frame. Types are pandas'; every "
        "field has its unit and description in its Arrow metadata, too.",
        "Every frame of the source has its row. Without a face its numbers are null, its labels stay. "
        f"{', '.join(map(code, features.KEYS))} and `subject` are always there; `--columns` chooses among the others.",
        table(["column", "meaning", "type", "unit or range"], rows),
        "Whole numbers below 64 bits are pandas' `Int8` and `Int32`, which can be missing. `file` is there for stills "
        "alone, `AU01_r` where the head predicts intensity, `AU01_true` where the dataset has labels, `emb` with "
        "`--embedding list` instead of `emb_000` and so on (as many as the encoder has dimensions, by default 256), "
        "and `bs_` columns with `--blendshapes`.",
        "## Blendshapes",
        ", ".join(map(code, features.blendshape_columns())),
        "## Metadata",
        "Each file holds one JSON text under the metadata key `tclr`: format and version, source, `au_source` "
        "(`face:`, `shape:`, `box:` or `head:<digest>`, or `blendshapes:v<n>`), thresholds, encoder and head digests, "
        "settings of all stages. "
        "`tclr.pipeline.system.read_metadata(file)` reads it.",
    )


def column_pattern(name: str) -> str | None:
    """Return how a column is shown, ``None`` for all but the first of a series."""
    first, last = features.embedding_columns(256)[0], features.embedding_columns(256)[-1]
    shapes = features.blendshape_columns()
    if name == first:
        return f"`{first}` ... `{last}`"
    if name == shapes[0]:
        return f"`{shapes[0]}` ... (52)"
    if name in shapes or re.fullmatch(r"emb_\d+", name):
        return None
    return f"`{name}`, ..." if name.startswith(EXAMPLE_AU) else code(name)


def manifest_page() -> str:
    """Return the columns of the manifest."""
    meanings = descriptions.CLIP_ATTRIBUTES | descriptions.MANIFEST
    rows = [
        [code(field.name), meanings.get(field.name, ""), arrow_name(field.type)] for field in manifest.MANIFEST_SCHEMA
    ]
    return page(
        "The manifest",
        "`STORE/manifest.parquet` has one row per clip, written by [`tclr preprocess`](preprocess.md). A clip that "
        "failed has its row, too, with the reason; its numbers are null.",
        table(["column", "meaning", "type"], rows),
        '```python\nimport pandas as pd\n\nm = pd.read_parquet("store/manifest.parquet")\n'
        "good = m[(m.share_ok > 0.9) & (m.median_face_px > 100)]\n```",
    )


def evaluation_page() -> str:
    """Return the files of an evaluation."""
    schema = predictions.predictions_schema([EXAMPLE_AU])
    meanings = {
        "method": "Row of the table of [methods](../evaluation.md#methods).",
        "fold": "Fold that tests the frame.",
        "dataset": "Layout of the source.",
        "subject": "The person.",
        "clip": "One continuous recording.",
        "frame": "As in the features.",
        "timestamp": "Seconds from the clip's start.",
        EXAMPLE_AU: "Probability, 0..1.",
        f"{EXAMPLE_AU}_c": "Decision at the fold's threshold, 0 or 1.",
        f"{EXAMPLE_AU}_true": "Label, 0 or 1.",
        f"{EXAMPLE_AU}_r": "Intensity, 0..5.",
        f"{EXAMPLE_AU}_r_true": "Its label, 0..5.",
    }
    rows = [
        [column_pattern(field.name) or "", meanings.get(field.name, ""), arrow_name(field.type)] for field in schema
    ]
    source = ast.parse((ROOT / "pipeline/evaluation/scores_file.py").read_text())
    return page(
        "Files of an evaluation",
        "Written by [`tclr evaluate`](evaluate.md); [evaluation](../evaluation.md) says what is computed.",
        "## Predictions: `--predictions FILE`",
        f"Parquet, format {predictions.FORMAT_VERSION}: one row per method and test frame. Null where a label is "
        "unknown or nothing was predicted.",
        table(["column", "meaning", "type"], rows),
        "## Figures: `--json FILE`",
        literal_block(ast.get_docstring(source) or ""),
        "Figures are shares (0..1), but MAE, which is in intensity steps (0..5); null where nothing can be measured.",
    )


def action_units_page() -> str:
    """Return the Action Units by name, and which dataset's protocol scores them."""
    protocols = {
        "BP4D": action_units.BP4D_AUS,
        "DISFA": action_units.DISFA_AUS,
        "EmotioNet": action_units.EMOTIONET_AUS,
    }
    rows = [
        [code(action_units.au_column(number)), name, *("yes" if number in aus else "" for aus in protocols.values())]
        for number, name in action_units.AU_NAMES.items()
    ]
    return page(
        "Action Units",
        "Names of the Facial Action Coding System (Ekman, Friesen and Hager, 2002), the column that each has, and the "
        "protocols that score it. Heads know the AUs that their training labels have; the mapping of blendshapes knows "
        "those of [its table](../blendshape-aus.md).",
        table(["column", "name", *protocols], rows),
    )
