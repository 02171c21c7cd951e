"""What an HDF5 file may hold before anything in it is read: plain data, and little more of it than the file has bytes.

A file from somebody else may have links to other files, data kept in other files, or kilobytes that unpack to the whole
memory; the HDF5 library follows all of them without a word. What `gazepipe.store` writes needs none of this. So every
link, data set and attribute is looked at when a file is opened, and the first thing that no store has ends it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MAX_BYTES", "MAX_RATIO", "Refused", "audited"]

#: Largest data set, unpacked.
MAX_BYTES = 8 << 30
#: How much larger than the file all its data may be, above `_FREE_BYTES`; maps and gaze are 2 to 20 times as large.
MAX_RATIO = 200

_FREE_BYTES = 256 << 20  # a column of equal values may well be 1,000 times as large as its compressed self
_LINKS = 10_000
_DEPTH = 8
_ATTRIBUTES = 1000
_ATTRIBUTE_BYTES = 64 << 20
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3


class Refused(ValueError):
    """What is wrong with a file, as the middle of a sentence."""


def audited(file: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Look through an open HDF5 file; no data are read, and nothing outside the file is touched.

    Parameters
    ----------
    file
        The ``h5py.File``.

    Returns
    -------
    datasets, groups : dict
        Path → ``h5py.Dataset`` and path → ``h5py.Group``, the root (``"/"``) among them, in order of the paths.

    Raises
    ------
    Refused
        If there is anything in it that no store has.
    """
    from h5py import Dataset, Group, h5d, h5g, h5o

    datasets: dict[str, Any] = {}
    groups = {"/": Group(file.id)}
    _check_attributes(file.id, "the root")
    total = 0
    for name in _hard_links(file):
        item = h5o.open(file.id, name)
        where = repr(name.decode("utf-8", "replace"))[:100]
        if isinstance(item, h5d.DatasetID):
            total += _checked_bytes(item, where)
            datasets[name.decode()] = Dataset(item)
        elif isinstance(item, h5g.GroupID):
            groups[name.decode()] = Group(item)
        else:
            msg = f"{where} is a named type, which no store has"
            raise Refused(msg)
        _check_attributes(item, where)
    size = file.id.get_filesize()
    if total > max(_FREE_BYTES, MAX_RATIO * size):
        msg = f"its {size} bytes would unpack to {total}, more than {MAX_RATIO} times as many"
        raise Refused(msg)
    return datasets, groups


def _hard_links(file: Any) -> list[bytes]:
    """Paths of all that is in a file, each thing once; links that lead elsewhere are refused, not followed."""
    from h5py import h5l

    names: list[bytes] = []

    def look(name: bytes, link: Any) -> str | None:
        if link.type != h5l.TYPE_HARD:
            kind = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link into another file"}
            return f"{name.decode('utf-8', 'replace')[:100]!r} is {kind.get(link.type, 'a link of an unknown kind')}"
        names.append(name)
        if len(names) > _LINKS or name.count(b"/") >= _DEPTH:
            return f"there are more than {_LINKS} things in it, or more than {_DEPTH} groups in one another"
        return None

    problem = file.id.links.visit(look, info=True)
    if problem is not None:
        raise Refused(problem)
    return names


def _checked_bytes(dataset: Any, where: str) -> int:
    """Size of a data set in memory, if it lies in the file as a store has it."""
    from h5py import h5d

    layout = dataset.get_create_plist()
    found = None
    if layout.get_external_count():
        found = "keeps its data in another file"
    elif layout.get_layout() not in (h5d.CHUNKED, h5d.CONTIGUOUS, h5d.COMPACT):
        found = "is a virtual data set, made of others"
    else:
        filters = {layout.get_filter(k)[0] for k in range(layout.get_nfilters())}
        if foreign := filters - {_DEFLATE, _SHUFFLE, _FLETCHER32}:
            found = f"needs the HDF5 filter {min(foreign)}, which no store does"
    size = 0
    if found is None and (found := _unplain(dataset.get_type())) is None:
        size = dataset.get_space().get_simple_extent_npoints() * dataset.get_type().get_size()
        if size > MAX_BYTES:
            found = f"would take {size} bytes, more than {MAX_BYTES}"
    if found is not None:
        msg = f"{where} {found}"
        raise Refused(msg)
    return int(size)


def _unplain(kind: Any, *, text_of_any_length: bool = False) -> str | None:
    """What is wrong with a type: a store has numbers, truth values and text of fixed length."""
    from h5py import h5t

    of = kind.get_class()
    if of == h5t.STRING:
        return None if text_of_any_length or not kind.is_variable_str() else "holds text of variable length"
    return None if of in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM) else "holds something else than numbers and text"


def _check_attributes(item: Any, where: str) -> None:
    from h5py import h5a

    count = h5a.get_num_attrs(item)
    found = f"has {count} attributes, more than {_ATTRIBUTES}" if count > _ATTRIBUTES else None
    for k in range(count if found is None else 0):
        attribute = h5a.open(item, index=k)
        # Text of variable length is allowed here: files written before the first release have it.
        found = _unplain(attribute.get_type(), text_of_any_length=True)
        if found is None and attribute.get_storage_size() > _ATTRIBUTE_BYTES:
            found = f"takes {attribute.get_storage_size()} bytes, more than {_ATTRIBUTE_BYTES}"
        if found is not None:
            found = f"has an attribute that {found}"
            break
    if found is not None:
        msg = f"{where} {found}"
        raise Refused(msg)
