"""Temporal-consistency pretraining: read top to bottom.

Each step takes a batch of tuples, sends all frames of all tuples through the encoder at once, and asks for each
tuple that every frame lie nearer to the anchor than the next one (``losses.aggregate_ranking_loss``). Nothing
random has a state: anchors follow from seed and epoch, augmentation from seed, epoch and step. So a run that was
interrupted and resumed ends with the weights of one that was not.

Source: Lu, Tavabi and Soleymani, BMVC 2020. Known flaws of the paper's own trainer are avoided: anchors are drawn
anew every epoch, and a last partial batch counts by its size.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tclr.pipeline.encoder import (
    EncoderInfo,
    build_encoder,
    centre_crop,
    default_device,
    encoder_digest,
    load_weights,
    normalise,
    save_encoder,
    to_input,
)
from tclr.pipeline.files import remove_quietly, replacing, write_json
from tclr.pipeline.loader import load_batches
from tclr.pipeline.losses import aggregate_ranking_loss, ranked_pairs
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.tuples import TupleDataset, index_clips, split_subjects
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import ModelError, SettingError, TclrError

COLLAPSE_STD = 0.05
"""Spread of embeddings below which a run is warned of collapse; 1 is the spread of random directions."""


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to; ``history`` has one dictionary an epoch, as in ``log.jsonl``."""

    run: Path
    encoder: Path
    history: list[dict[str, Any]]
    resumed_at: int
    train_subjects: list[str]
    val_subjects: list[str]

    @property
    def collapsed(self) -> bool:
        """Whether the embeddings of the last epoch lie nearly on one point."""
        spread = self.history[-1]["embedding_std"]
        return spread is not None and spread < COLLAPSE_STD


def augment(x: Tensor, size: int, frames_per_draw: int, jitter: float, generator: torch.Generator) -> Tensor:
    """Crop, flip and change the light of frames at random, on their device.

    Parameters
    ----------
    x : Tensor
        (N, 3, R, R) float in 0..1.
    size : int
        Side of the random crop, at most R.
    frames_per_draw : int
        Consecutive frames that share one draw: all of a tuple, or 1.
    jitter : float
        Largest relative change of contrast and brightness.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor
        (N, 3, size, size), channels last in memory.
    """
    n_draws = len(x) // frames_per_draw
    draws = torch.rand(n_draws, 5, generator=generator).repeat_interleave(frames_per_draw, dim=0).to(x.device)
    room = x.shape[-1] - size + 1
    steps = torch.arange(size, device=x.device)
    rows = (draws[:, 0] * room).long()[:, None] + steps
    columns = (draws[:, 1] * room).long()[:, None] + steps
    columns = torch.where(draws[:, 2:3] < 0.5, columns, columns.flip(1))
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    x = x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    contrast, brightness = (1 + jitter * (2 * draws[:, 3:5] - 1)).T[:, :, None, None, None]
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return ((x - mean) * contrast + mean * brightness).clamp(0, 1)


def _step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def hash_data(clips: Sequence[ClipInfo]) -> str:
    """Return the SHA-256 of what the clips of a store are made from: sources, lengths and settings."""
    facts = [
        (
            clip.subject,
            clip.clip,
            clip.n_frames,
            str(clip.attrs["source_sha256"]),
            clip.root["detect_hash"],
            clip.root["align_hash"],
        )
        for clip in clips
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class Trainer:
    """Model, optimizer and data of one run.

    Parameters
    ----------
    store : Path
        The store.
    config : PretrainConfig
        Settings.
    init : Path or None
        Weights to start from.

    Raises
    ------
    StoreError, InputError
        If the store has crops of several sizes, or no clip long enough for a tuple.
    ModelError
        If ``init`` cannot be read or does not fit.
    """

    def __init__(self, store: Path, config: PretrainConfig, init: Path | None) -> None:
        self.config = config
        self.device = default_device()
        with Store(store) as opened:
            usable = sorted({clip.subject for clip in index_clips(opened, opened.subjects, config)})
            self.train_subjects, self.val_subjects = split_subjects(usable, config.val_share, config.seed)
            crop_size = opened.crop_size()  # raises now if sizes differ, not in the midst of an epoch
            root = opened.clips[0].root
            self.data_hash = hash_data(opened.clips)
        self.store = store
        self.info = EncoderInfo(
            embedding_dim=config.embedding_dim,
            image_size=config.image_size,
            crop_ratio=config.crop_ratio,
            arch=config.arch,
            recipe="paper",
            seed=config.seed,
            detect_hash=root["detect_hash"],
            align_hash=root["align_hash"],
            data_hash=self.data_hash,
            crop_size=crop_size,
            n_subjects=len(self.train_subjects),
            tclr_version=version("tclr-face"),
        )
        self.model = build_encoder(config.embedding_dim, config.seed, config.arch)
        if init is not None:
            load_weights(self.model, init)
        self.start_digest = encoder_digest(self.model, self.info)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self._make_optimizer()
        self.train_tuples = self._tuples(store, self.train_subjects, config.anchors_per_clip)
        self.val_tuples = self._tuples(store, self.val_subjects, 0) if self.val_subjects else None

    def _tuples(self, store: Path, subjects: list[str], anchors_per_clip: int) -> TupleDataset:
        return TupleDataset(store, subjects, self.config, anchors_per_clip=anchors_per_clip)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        config, parameters = self.config, self.model.parameters()
        if config.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def _batches(self, tuples: TupleDataset) -> Iterator[Tensor]:
        """Yield (B, F, S, S, 3) uint8 on the device; the last batch may be smaller."""
        size = self.config.batch_size
        batches = [range(start, min(start + size, len(tuples))) for start in range(0, len(tuples), size)]
        for batch in load_batches(tuples, batches, num_workers=self.config.num_workers, device=self.device):
            yield batch.frames

    def _embed(self, x: Tensor, n_tuples: int) -> Tensor:
        """Embed (B * F, 3, H, W) frames in one batch: (B, F, D) float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            embeddings = self.model(normalise(x, self.info))
        return embeddings.float().view(n_tuples, -1, self.config.embedding_dim)

    def _augmented(self, batch: Tensor, epoch: int, step: int) -> Tensor:
        x = to_input(batch.flatten(0, 1), self.info)
        if self.config.augment == "none":
            return centre_crop(x, self.config.image_size)
        frames_per_draw = batch.shape[1] if self.config.augment == "tuple" else 1
        generator = _step_generator(self.config.seed, epoch, step)
        return augment(x, self.config.image_size, frames_per_draw, self.config.colour_jitter, generator)

    def train_epoch(self, epoch: int, tick: Callable[[int], None]) -> float:
        """Train on one epoch's tuples; return the mean loss a tuple."""
        self.model.train()
        self.train_tuples.set_epoch(epoch)
        total = 0.0
        for step, batch in enumerate(self._batches(self.train_tuples)):
            embeddings = self._embed(self._augmented(batch, epoch, step), len(batch))
            loss = aggregate_ranking_loss(embeddings, self.config.margin)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            value = loss.item()
            self._check_finite(value, f"the loss in epoch {epoch + 1}, step {step + 1}")
            total += value * len(batch)
            tick(len(batch))
        weights = torch.cat([value.float().flatten() for value in self.model.state_dict().values()])
        self._check_finite(weights.abs().sum().item(), f"the size of all weights after epoch {epoch + 1}")
        return total / len(self.train_tuples)

    def _check_finite(self, value: float, what: str) -> None:
        """Stop a run that has exploded, before its weights are written anywhere."""
        if not math.isfinite(value):
            raise TclrError(
                f"Expected a finite number, but {what} became {value}. Lower --learning-rate "
                f"(now {self.config.learning_rate}) and start again with --no-resume."
            )

    def info_after(self, n_epochs: int) -> EncoderInfo:
        """Return the info of an encoder trained so far."""
        return replace(self.info, epochs=n_epochs)

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Measure loss, ranking accuracy and spread of embeddings on held-out subjects, without augmentation."""
        if self.val_tuples is None:
            return dict.fromkeys(("val_loss", "val_accuracy", "val_accuracy_by_pair", "embedding_std"))
        self.model.eval()
        embeddings = []
        for batch in self._batches(self.val_tuples):
            x = centre_crop(to_input(batch.flatten(0, 1), self.info), self.config.image_size)
            embeddings.append(self._embed(x, len(batch)))
        all_tuples = torch.cat(embeddings)
        by_pair = ranked_pairs(all_tuples).float().mean(dim=0)
        spread = all_tuples.flatten(0, 1).std(dim=0).square().sum().sqrt()
        return {
            "val_loss": aggregate_ranking_loss(all_tuples, self.config.margin).item(),
            "val_accuracy": by_pair.mean().item(),
            "val_accuracy_by_pair": [round(value, 4) for value in by_pair.tolist()],
            "embedding_std": spread.item(),
        }


def save_checkpoint(path: Path, trainer: Trainer, history: list[dict[str, Any]]) -> None:
    """Write everything that going on needs, in one step; it loads with ``weights_only=True``."""
    content = {
        "epoch": len(history),
        "config": trainer.config.to_json(),
        "encoder_info": json.dumps(asdict(trainer.info_after(len(history)))),
        "store": str(trainer.store),
        "data_hash": trainer.data_hash,
        "start_digest": trainer.start_digest,
        "history": json.dumps(history),
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    with replacing(path) as temporary:
        buffer = io.BytesIO()  # torch writes no OSError when a disk is full
        torch.save(content, buffer)
        temporary.write_bytes(buffer.getbuffer())


def _check_same_run(content: dict[str, Any], trainer: Trainer, path: Path) -> None:
    """Refuse to go on under other settings, which would be neither the old run nor a new one."""
    advice = "another RUN, or --no-resume to start over."
    before, now = json.loads(content["config"]), json.loads(trainer.config.to_json())
    if now["epochs"] < content["epoch"]:
        raise SettingError(
            f"Cannot resume {path}: it has {content['epoch']} epochs, more than 'epochs', now {now['epochs']}. "
            f"Give as many epochs or more, {advice}"
        )
    free = {"epochs", "checkpoint_every", "num_workers"}
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    for name in changed:
        if name not in free:
            raise SettingError(
                f"Cannot resume {path}: setting {name!r} was {before.get(name)!r} and is now {now.get(name)!r}. "
                f"Use the same settings, {advice}"
            )
    if content["data_hash"] != trainer.data_hash:
        raise SettingError(
            f"Cannot resume {path}: it was trained on other data ({content['store']}: other clips, detection or "
            f"alignment than {trainer.store} has now). Use {advice}"
        )
    if content["start_digest"] != trainer.start_digest:
        raise SettingError(
            f"Cannot resume {path}: it started from other weights. Give the same --init, or none if none was given, "
            f"{advice}"
        )


def load_checkpoint(path: Path, trainer: Trainer) -> list[dict[str, Any]]:
    """Put a checkpoint's state into a trainer; return its history.

    Raises
    ------
    ModelError
        If the file is damaged or of another size.
    SettingError
        If it was made with other settings or data.
    """
    try:
        content = torch.load(path, map_location=trainer.device, weights_only=True)
        _check_same_run(content, trainer, path)
        trainer.model.load_state_dict(content["model"])
        trainer.optimizer.load_state_dict(content["optimizer"])
        return json.loads(content["history"])
    except TclrError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"Expected a checkpoint of this run, but cannot use {path}: {reason}. "
            "Delete it, or start over with --no-resume."
        ) from error


def _write_log(run: Path, history: list[dict[str, Any]]) -> None:
    with replacing(run / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in history))


def pretrain(
    store: Path,
    run: Path,
    config: PretrainConfig,
    *,
    init: Path | None = None,
    resume: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PretrainResult:
    """Train an encoder on a store.

    Parameters
    ----------
    store, run : Path
        Store to read; folder for checkpoint.pt, log.jsonl, config.json and encoder.safetensors.
    config : PretrainConfig
        Settings.
    init : Path, optional
        Weights to start from: ImageNet's in torchvision's names, the paper's, or an encoder or run of tclr.
    resume : bool
        Go on from RUN/checkpoint.pt if it is there. A finished run is not trained again: ``resumed_at`` then
        equals ``config.epochs``.
    progress : callable
        Called with tuples done and tuples in all.

    Raises
    ------
    InputError
        If no clip is long enough for a tuple.
    SettingError, ModelError
        If the checkpoint or the initial weights do not fit.
    TclrError
        If the loss or the weights are no longer finite.
    """
    trainer = Trainer(store, config, init)
    checkpoint = run / "checkpoint.pt"
    history = load_checkpoint(checkpoint, trainer) if resume and checkpoint.is_file() else []
    resumed_at = len(history)
    if not history:
        remove_quietly(run / "encoder.safetensors")  # of an earlier run, which this one is not
    write_json(run / "config.json", {"store": str(store), "init": str(init or ""), **config.model_dump(mode="json")})
    n_tuples = len(trainer.train_tuples)
    done = resumed_at * n_tuples

    def tick(count: int) -> None:
        nonlocal done
        done += count
        progress(done, config.epochs * n_tuples)

    for epoch in range(resumed_at, config.epochs):
        started_s = time.perf_counter()
        train_loss = trainer.train_epoch(epoch, tick)
        rate = n_tuples / (time.perf_counter() - started_s)
        line = {"epoch": epoch + 1, "train_loss": train_loss, **trainer.validate(), "tuples_per_s": rate}
        history.append(line)
        _write_log(run, history)
        if (epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.epochs:
            save_checkpoint(checkpoint, trainer, history)
    encoder = run / "encoder.safetensors"
    save_encoder(encoder, trainer.model, trainer.info_after(len(history)))
    return PretrainResult(run, encoder, history, resumed_at, trainer.train_subjects, trainer.val_subjects)
