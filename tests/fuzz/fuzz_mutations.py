"""Strategies: bytes that are nearly a valid file."""

from hypothesis import strategies as st

EXTREMES = [bytes(n) for n in (1, 4, 8)] + [b"\xff" * n for n in (1, 4, 8)]
EXTREMES += [b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 7 + b"\x7f", bytes(7) + b"\x80", b"\x00\x00\x00\x10"]


def _apply(data, edit):
    kind, place, other, piece = edit
    used = [number for number, byte in enumerate(data) if byte] or [0]  # headers, not the zeros between them
    data, start = bytearray(data), used[int(place * len(used))]
    if kind == "replace":
        data[start : start + len(piece)] = piece
    elif kind == "insert":
        data[start:start] = piece
    elif kind == "delete":
        del data[start : start + len(piece)]
    elif kind == "copy":
        source = used[int(other * len(used))]
        data[start : start + 8 * len(piece)] = data[source : source + 8 * len(piece)]
    elif kind == "cut":
        del data[start:]
    return bytes(data)


def mutated(*valid, kinds=("replace", "insert", "delete", "copy", "cut"), pieces=(), within=(0, 1)):
    """Return a strategy of valid files with one to six edits, in some part of them."""
    place = st.floats(*within, exclude_max=True)
    piece = st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from([*EXTREMES, *pieces]))
    edits = st.lists(st.tuples(st.sampled_from(kinds), place, place, piece), min_size=1, max_size=6)

    def build(parts):
        data, changes = parts
        for edit in changes:
            data = _apply(data, edit)
        return data

    return st.tuples(st.sampled_from(valid), edits).map(build)
