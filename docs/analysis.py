# %% [markdown]
# # From features to findings
#
# This script reads what `tclr embed` wrote and takes the steps of most studies: which frames to trust, what each
# person does, which Action Units (AUs) occur together, when an action begins and ends, and whether groups differ.
#
# Open it as a notebook (VS Code, Jupyter with Jupytext) or run it: `python docs/analysis.py`. It takes its paths from
# environment variables; change the three paths to your own. docs/analysis.md explains each step.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from tclr.pipeline.features import load
from tclr.pipeline.features.comparison import compare_groups
from tclr.pipeline.features.cooccurrence import measure_cooccurrence
from tclr.pipeline.features.events import detect_events, summarise_events
from tclr.pipeline.system import read_metadata

FEATURES = Path(os.environ.get("TCLR_FEATURES", "demo-out/features"))
GROUPS = os.environ.get("TCLR_GROUPS")  # a CSV with the columns subject and group; without it no groups are compared
OUT = Path(os.environ.get("TCLR_OUT", "analysis-out"))
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Load
# Load only the columns that you need: a wide embedding is most of a file. The metadata of every file hold the head's
# thresholds, one per AU.

# %%
df = load(
    FEATURES, columns=["clip", "frame", "timestamp", "status", "score", "face_px", "track", "yaw", "AU??", "AU??_c"]
)
thresholds = read_metadata(next(FEATURES.rglob("*.parquet")))["au_thresholds"]
aus = list(thresholds)
flags = [f"{au}_c" for au in aus]
print(f"{len(df)} frames, {df['subject'].nunique()} subjects, {len(aus)} AUs")

# %% [markdown]
# ## Which frames to trust
# Poor frames keep their row, without values. If rows were dropped, time would jump.

# %%
good = (
    df["status"].isin(["ok", "interpolated"]) & (df["score"] >= 0.5) & (df["face_px"] >= 60) & (df["yaw"].abs() < 0.6)
)
df[aus] = df[aus].where(good)
df[flags] = df[flags].where(good)
print("Share of frames kept:", good.groupby(df["subject"], observed=True).mean().round(3).to_dict())

# %% [markdown]
# ## Events: onset, apex, offset
# An action begins where its probability rises to 0.8 of the threshold, if it then reaches the threshold. It must last
# 0.2 s. With two thresholds, a curve that fluctuates around one of them is not split into many events.

# %%
low = {au: 0.8 * threshold for au, threshold in thresholds.items()}
events = detect_events(df, aus, high=thresholds, low=low, min_duration_s=0.2)
events.to_csv(OUT / "events.csv", index=False)
print(events[["subject", "clip", "au", "onset_s", "apex_s", "offset_s", "peak"]].head().to_string(index=False))

# %% [markdown]
# ## What each person does
# Rates are per minute in which the face was seen.

# %%
subjects = summarise_events(events, df, aus)
subjects.to_csv(OUT / "subjects.csv", index=False)
print(subjects.groupby("au")[["events_per_min", "share_active", "mean_duration_s"]].mean().round(2).to_string())

# %% [markdown]
# ## Which AUs occur together
# Measured within each person, then averaged, so that the person with the longest video does not dominate. `conditional`
# reads along a row: of the frames with the row's AU, the share that also has the column's.

# %%
pairs = measure_cooccurrence(df, flags)
pairs.to_csv(OUT / "cooccurrence.csv", index=False)
figure, axes = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
for axis, measure, lowest in zip(axes, ("conditional", "phi"), (0, -1), strict=True):
    matrix = pairs.pivot(index="given", columns="au", values=measure).loc[flags, flags]
    image = axis.imshow(matrix, vmin=lowest, vmax=1, cmap="viridis" if lowest == 0 else "RdBu_r")
    axis.set_xticks(range(len(aus)), aus, rotation=90)
    axis.set_yticks(range(len(aus)), aus)
    axis.set_title({"conditional": "P(column | row)", "phi": "phi"}[measure])
    figure.colorbar(image, ax=axis, shrink=0.7)
figure.savefig(OUT / "cooccurrence.png", dpi=120)

# %% [markdown]
# ## One clip over time
# The AU with the most events, its threshold, and the events as bars with their apex.

# %%
au = events["au"].mode().iat[0] if len(events) else aus[0]
busiest = events[events["au"] == au] if len(events) else df
subject, clip = busiest.groupby(["subject", "clip"], observed=True).size().idxmax()
rows = df[(df["subject"] == subject) & (df["clip"] == clip)]
shown = events.query("subject == @subject and clip == @clip and au == @au")
figure, axis = plt.subplots(figsize=(10, 3), layout="constrained")
axis.plot(rows["timestamp"], rows[au], color="0.3")
axis.axhline(thresholds[au], color="0.6", linestyle="--")
for event in shown.itertuples():
    axis.axvspan(event.onset_s, event.onset_s + event.duration_s, alpha=0.25)
    axis.plot(event.apex_s, event.peak, "v", color="C3")
axis.set(xlabel="time (s)", ylabel="probability", title=f"{au}: {subject}, {clip}", ylim=(0, 1.05))
figure.savefig(OUT / "timeline.png", dpi=120)

# %% [markdown]
# ## Do two groups differ?
# The subject is the unit: one value per person, however many frames. `p_holm` is corrected for the number of AUs.

# %%
if GROUPS:
    group = pd.read_csv(GROUPS, dtype=str).set_index("subject")["group"]
    share = subjects.pivot(index="subject", columns="au", values="share_active")
    differences = compare_groups(share.loc[share.index.isin(group.index)], group)
    differences.to_csv(OUT / "groups.csv")
    print(differences.sort_values("p").head().round(3).to_string())
