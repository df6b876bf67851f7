"""The recipe of the bundled models, from videos of people with AU intensities to three files and the evidence.

Preprocess, fine-tune a network, select, fit the heads that also read shape, judge. Nobody who is tested takes part in
anything before, not even in pretraining. The same call resumes after an interruption, also within a stage if the stage
can resume.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tclr.pipeline.au import (
    AuHead,
    Describe,
    LabelledFrames,
    blendshape_rows,
    find_encoder,
    fit_au,
    fit_head,
    landmark_rows,
    load_head,
    no_rows,
)
from tclr.pipeline.encoder import EncoderInfo, LoadedEncoder, load_encoder, untrained_encoder
from tclr.pipeline.preprocessing import preprocess_all
from tclr.pipeline.pretraining import pretrain
from tclr.pipeline.store import Store, hold_out
from tclr.pipeline.system import replacing, write_json, write_text
from tclr.pipeline.tools.box.card import model_card
from tclr.pipeline.tools.box.evidence import (
    Forecast,
    Judged,
    describe_for,
    forecast,
    forecast_by_mapping,
    forecast_centred,
    is_turned,
    read_people,
)
from tclr.pipeline.tools.box.facemesh import aim, facemesh_encoder
from tclr.pipeline.tools.box.people import People, split_people
from tclr.pipeline.tools.box.qualities import AS_GIVEN, QUALITIES, write_degraded
from tclr.schemas.config import AlignConfig, BoxConfig, FitAuConfig, PreprocessConfig, PretrainConfig
from tclr.schemas.errors import InputError, SettingError

FOLDS = 8
"""An eighth of the people to learn from says when fine-tuning stops, and sets the network's own thresholds."""
STRIDE = 5
"""Closed forms learn from every fifth frame: neighbours are alike."""
NEUTRAL_SHARE = 0.05
"""Largest share of neutral frames on which an AU of the heads that read shape counts as present."""
NOTICED_FROM = 0.5
"""Intensity from which an AU of these heads should count as present: smiles of real people are slighter than those
that photo people were made to show."""
BLENDS: tuple[Literal["face", "shape"], ...] = ("face", "shape")
"""Heads that read shape: with pixels, and without."""
LINEAR: dict[str, Describe] = {"blendshapes + linear": blendshape_rows, "landmarks + linear": landmark_rows}
"""Linear heads on mediapipe's output, which a model must beat to be worth its time."""
STARTS = ("facemesh", "tclr", "paper", "random")
"""Starts of fine-tuning, besides encoders of the user's: mediapipe's landmark network, or a ResNet-18 that is
pretrained without labels, by either recipe, or not at all."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BoxResult:
    """The three files, their card, who was tested, and every score."""

    box: Path
    face: Path
    shape: Path
    card: Path
    chosen: str
    n_train: int
    n_select: int
    n_test: int
    judged: list[Judged]


def _pretrain_config(start: str, seed: int, config: BoxConfig, left_out: str) -> PretrainConfig:
    return PretrainConfig.model_validate(
        {
            "recipe": start,
            "image_size": config.image_size,
            "crop_ratio": config.crop_ratio,
            "epochs": config.pretrain_epochs,
            "anchors_per_clip": 8 if start == "tclr" else 4,  # a tuple of the paper's has 12 frames, ours 6
            "batch_size": 24 if start == "tclr" else 12,
            "val_share": 0.05,
            "precision": "bf16",
            "leave_out": left_out,
            "seed": seed,
        }
    )


def _finetune_config(seed: int, config: BoxConfig, left_out: str) -> FitAuConfig:
    return FitAuConfig(
        head="finetune",
        epochs=config.finetune_epochs,
        degrade=config.degrade,
        half=True,
        encoder_learning_rate=0.0002,
        learning_rate=0.001,
        batch_size=64,
        folds=FOLDS,
        leave_out=left_out,
        seed=seed,
    )


def _fit_once(
    store: Path,
    encoder: LoadedEncoder | None,
    path: Path,
    config: FitAuConfig,
    progress: Callable[[int, int], None],
    neutral: Path | None = None,
    network: AuHead | None = None,
) -> AuHead:
    """Return the head in a file if it was made the same way, else fit and write it.

    With a store of neutral faces it is always fitted: its file does not say which these were.
    """
    digest = encoder.digest if encoder else ""
    if path.is_file() and neutral is None:
        head = load_head(path)
        if head.settings == config.model_dump(mode="json") and digest in (head.started_from, head.encoder_digest):
            return head
    fit_au(store, encoder, path, config, network=network, neutral=neutral, fit_progress=progress)
    return load_head(path)


class _Recipe:
    def __init__(
        self, source: Path, out: Path, config: BoxConfig, workers: int | None, tell: Tell, neutral: Path | None = None
    ) -> None:
        self.source, self.out, self.config, self.workers, self.tell = source, out, config, workers, tell
        self.neutral = neutral
        self.store, self.starts = out / "store", starts_of(config)

    def step(self, name: str) -> Callable[[int, int], None]:
        """Return the callback that reports a step's progress."""
        self.tell(name, 0, 1)
        return lambda done, total: self.tell(name, done, total)

    def preprocess(self, source: Path, store: Path, what: str) -> None:
        config = PreprocessConfig(align=AlignConfig(size=self.config.crop_size, codec="lz4"))
        told = self.step(f"Preprocessing {what}")
        preprocess_all(source, store, config, workers=self.workers, progress=told)

    def start(self, name: str, seed: int, people: People) -> LoadedEncoder:
        """Return the encoder that fine-tuning starts from."""
        if name not in STARTS:
            given = load_encoder(find_encoder(name, STARTS))
            known = {subject.split("/")[-1] for subject in given.info.subjects}
            if seen := sorted(known & {*people.test, *people.select}):
                raise InputError(
                    f"Expected an encoder that has not learnt from people who are tested, but {name} has learnt from "
                    f"{len(seen)} of them, such as {seen[0]}. Pretrain with --leave-out, or give another."
                )
            return given
        if name == "facemesh":
            encoder = facemesh_encoder(self.config.image_size, self.config.crop_ratio, seed)
            self.step("Fitting the embedding")
            frames = read_people(self.store, people.train, no_rows)
            frames = frames.take((frames.rows % STRIDE == 0) & ~hold_out(frames.subjects, FOLDS, seed))
            return aim(encoder, frames)
        if name == "random":
            info = EncoderInfo(image_size=self.config.image_size, crop_ratio=self.config.crop_ratio, seed=seed)
            return untrained_encoder(info)
        run = self.out / "runs" / f"{name}-seed{seed}" / "pretrained"
        settings = _pretrain_config(name, seed, self.config, _left_out(people))
        return load_encoder(
            pretrain(self.store, run, settings, progress=self.step(f"Pretraining {name}, seed {seed}")).run
        )

    def fine_tuned(self, people: People) -> Iterator[tuple[str, AuHead, Path]]:
        """Yield every run's name, head and file; all starts of a seed before the next seed."""
        for seed in range(self.config.seeds):
            for start in self.starts:
                name = f"{start}, seed {seed}"
                encoder = self.start(start, seed, people)
                folder = start if start in STARTS else encoder.digest[:12]
                path = self.out / "runs" / f"{folder}-seed{seed}" / "au.safetensors"
                settings = _finetune_config(seed, self.config, _left_out(people))
                yield name, _fit_once(self.store, encoder, path, settings, self.step(f"Fine-tuning {name}")), path

    def blend(self, inputs: Literal["face", "shape"], people: People, network: AuHead | None) -> AuHead:
        """Fit a head that reads the shape of the face, and a fine-tuned head's embedding if one is given."""
        settings = FitAuConfig(
            head="blend",
            inputs=inputs,
            neutral_share=NEUTRAL_SHARE,
            noticed_from=NOTICED_FROM,
            leave_out=",".join(people.test),
            seed=self.config.seed,
        )
        path = self.out / f"{inputs}.safetensors"
        told, encoder = self.step(f"Fitting {inputs}"), network.encoder if network else None
        return _fit_once(self.store, encoder, path, settings, told, self.neutral, network)

    def linear(self, people: People) -> dict[str, tuple[AuHead, Describe]]:
        """Fit linear heads on mediapipe's output, on all people who are not tested."""
        heads = {}
        for name, describe in LINEAR.items():
            told = self.step(f"Fitting {name}")
            frames = read_people(self.store, (*people.train, *people.select), describe)
            frames = frames.take(frames.rows % STRIDE == 0)
            heads[name] = fit_head(frames, FitAuConfig(folds=3, seed=self.config.seed), progress=told), describe
        return heads


def starts_of(config: BoxConfig) -> list[str]:
    """Return the starts of fine-tuning.

    Raises
    ------
    SettingError
        If one is neither a known name nor an existing path.
    """
    starts = [name.strip() for name in config.starts.split(",")]
    for name in starts:
        if name not in STARTS and not Path(name).exists():
            raise SettingError(
                f"Expected --starts of {', '.join(STARTS)} or existing encoders, but got {name!r}. Check the path."
            )
    return starts


def _left_out(people: People) -> str:
    return ",".join((*people.test, *people.select))


def run_box(
    source: Path,
    out: Path,
    config: BoxConfig,
    *,
    neutral: Path | None = None,
    workers: int | None = None,
    tell: Tell = lambda what, done, total: None,
) -> BoxResult:
    """Make and judge the bundled models; a second call resumes.

    Parameters
    ----------
    source : Path
        Folder of videos of people with AU intensities (docs/labels.md).
    out : Path
        Folder for everything.
    config : BoxConfig
        Settings.
    neutral : Path, optional
        Store of other faces at rest: the heads that read shape are quiet on these, too.
    workers : int, optional
        Processes of preprocessing.
    tell : callable
        Called with the name of a step, its parts done and its parts in total.

    Raises
    ------
    InputError
        If a clip cannot be read, there are too few people, or a given encoder has learnt from test subjects.
    TclrError
        As the stages do.

    Examples
    --------
    >>> from tclr.schemas.config import BoxConfig
    >>> run_box(Path("people"), Path("made"), BoxConfig(seeds=3)).card  # doctest: +SKIP
    PosixPath('made/model-card.md')
    """
    recipe = _Recipe(source, out, config, workers, tell, neutral)
    recipe.preprocess(source, recipe.store, "all people")
    with Store(recipe.store) as opened:
        people = split_people(opened.subjects, config.test_share, config.select_share, config.seed)
    write_json(out / "people.json", asdict(people))
    runs = list(recipe.fine_tuned(people))
    selected = []
    for name, head, path in runs:
        recipe.step(f"Selecting: {name}")
        frames = read_people(recipe.store, people.select, describe_for(head, None))
        selected.append((forecast(name, head, frames).judge(frames, "selection"), path))
    best, path = max(selected, key=lambda item: item[0].mean["roc_auc"] or 0.0)
    box = out / "box.safetensors"
    with replacing(box) as temporary:
        shutil.copyfile(path, temporary)
    heads = {name: (head, describe_for(head, None)) for name, head, _ in runs}
    heads["box"] = heads[best.model]
    network = heads["box"][0]
    for inputs in BLENDS:
        head = recipe.blend(inputs, people, network if inputs == "face" else None)
        heads[inputs] = head, describe_for(head, network.encoder)
    judged = [run for run, _ in selected] + _judge_all(recipe, people, heads)
    write_json(
        out / "evidence.json", {"judged": [asdict(one) for one in judged], "config": json.loads(config.to_json())}
    )
    card = out / "model-card.md"
    write_text(card, model_card(best.model, people, config, recipe.starts, judged, network, heads["face"][0]))
    counts = len(people.train), len(people.select), len(people.test)
    face, shape = (out / f"{inputs}.safetensors" for inputs in BLENDS)
    return BoxResult(box, face, shape, card, best.model, *counts, judged)


def _judge_all(recipe: _Recipe, people: People, heads: dict[str, tuple[AuHead, Describe]]) -> list[Judged]:
    """Judge all models on the test subjects, at every quality."""
    heads = heads | recipe.linear(people)
    judged: list[Judged] = []
    for quality in (AS_GIVEN, *QUALITIES):
        store, who = recipe.store, people.test
        if quality != AS_GIVEN:
            folder = recipe.out / "qualities" / quality.replace(", ", "-").replace(" ", "-")
            write_degraded(
                recipe.source, people.test, *QUALITIES[quality], folder / "videos", recipe.step(f"Writing {quality}")
            )
            store = folder / "store"
            recipe.preprocess(folder / "videos", store, quality)
        told = recipe.step(f"Judging {quality}")
        turned = is_turned(store, who) if quality == AS_GIVEN else None
        for done, (name, (head, describe)) in enumerate(heads.items()):
            told(done, len(heads))
            frames = read_people(store, who, describe)
            plain = forecast(name, head, frames)
            forecasts = [plain, forecast_centred(plain, head, frames)] if name in ("box", *BLENDS) else [plain]
            if name == "blendshapes + linear":
                forecasts.append(forecast_by_mapping(frames))
            judged += _judge_turned(forecasts, frames, quality, turned)
    return judged


def _judge_turned(
    forecasts: Sequence[Forecast], frames: LabelledFrames, quality: str, turned: np.ndarray | None
) -> list[Judged]:
    judged = [one.judge(frames, quality) for one in forecasts]
    if turned is not None and turned.any():
        judged += [one.judge(frames, "head turned", turned) for one in forecasts]
    return judged
