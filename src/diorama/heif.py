"""The boxes of a HEIF file that say which item is what.

They tell what a codec library leaves out, and take what it cannot write.

ISO/IEC 14496-12 (ISOBMFF: boxes, `meta`, `iinf`, `iloc`, `iref`, `grpl`) and ISO/IEC 23008-12
(HEIF: `iprp`, `ipco`, `ipma`, `auxC`, `ster`). Pixels are the codec library's business.

What is read may be anybody's: every length is checked against what is there, and whatever does not
fit is a ValueError.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_EXTENTS = 100_000
"""Of all items together; an entry of size 0 could claim any number of them."""

MAX_BOXES = 100_000
"""Beside each other: each of them takes eight bytes at least."""


class Box(NamedTuple):
    """One box."""

    kind: bytes
    """Four characters."""
    payload: bytes
    """What follows its header; of a full box, this begins with version and flags."""

    @property
    def version(self) -> int:
        """Of a full box."""
        return self.payload[0] if self.payload else 0

    @property
    def flags(self) -> int:
        """Of a full box."""
        return int.from_bytes(self.payload[1:4], "big")

    def encoded(self) -> bytes:
        """Header and payload."""
        return struct.pack(">I4s", 8 + len(self.payload), self.kind) + self.payload


def full_box(kind: bytes, payload: bytes, *, version: int = 0, flags: int = 0) -> Box:
    """A box with version and flags."""
    return Box(kind, struct.pack(">I", version << 24 | flags) + payload)


@dataclass(frozen=True)
class Item:
    """A picture or a piece of metadata."""

    kind: bytes
    """Four characters: "hvc1" and "grid" are pictures, "mime" has a `content_type`."""
    content_type: str
    extents: tuple[tuple[int, int], ...]
    """Offset and length of its pieces."""
    in_meta: bool
    """Whether offsets count from the `idat` box rather than from the file's beginning."""
    properties: tuple[Box, ...]
    """In the order they apply."""


@dataclass(frozen=True)
class Reference:
    """What an item refers to."""

    kind: bytes
    """ "auxl": is auxiliary to; "cdsc": describes; "dimg": is derived from."""
    source: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Meta:
    """What a HEIF file says of its items."""

    primary: int
    """The id of the item that is the photo."""
    items: dict[int, Item]
    """By id."""
    references: tuple[Reference, ...]
    idat: bytes
    """Data of small items."""

    def data(self, file: bytes, item: int, *, limit: int) -> bytes:
        """What an item holds.

        Raises:
            ValueError: if it reaches beyond the file or has more than `limit` bytes.
        """
        source = self.idat if self.items[item].in_meta else file
        extents = self.items[item].extents
        if sum(length for _, length in extents) > limit:
            raise ValueError(f"item {item} has more than {limit} bytes")
        if any(offset + length > len(source) for offset, length in extents):
            raise ValueError(f"item {item} is cut off")
        return b"".join(source[offset : offset + length] for offset, length in extents)

    def sources(self, kind: bytes, target: int) -> list[int]:
        """The items that refer to `target` in this way."""
        return [r.source for r in self.references if r.kind == kind and target in r.targets]


def read_meta(file: bytes) -> Meta:
    """What a HEIF file says of its items.

    Raises:
        ValueError: if its boxes do not fit together.
    """
    try:
        boxes = {box.kind: box for box in _boxes(_meta_of(file)[2][4:])}
        idat = boxes.get(b"idat", Box(b"idat", b""))
        properties = _properties(boxes.get(b"iprp", Box(b"iprp", b"")))
        places = _places(boxes[b"iloc"])
        items = {}
        for number, kind, content_type in _infos(boxes[b"iinf"]):
            extents, in_meta = places.get(number, ((), False))
            own = properties.get(number, ())
            items[number] = Item(kind, content_type, extents, in_meta, own)
        primary = boxes[b"pitm"]
        form = ">H" if primary.version == 0 else ">I"
        (number,) = struct.unpack_from(form, primary.payload, 4)
        references = _references(boxes[b"iref"]) if b"iref" in boxes else ()
    except (struct.error, KeyError, IndexError) as error:
        raise ValueError(f"the HEIF file's boxes are damaged: {error}") from error
    if number not in items:
        raise ValueError("the HEIF file has no primary item")
    return Meta(number, items, references, idat.payload)


def meta_boxes(file: bytes) -> list[Box]:
    """The boxes within `meta`, to be changed and given to `with_meta_boxes`."""
    return list(_boxes(_meta_of(file)[2][4:]))


def with_meta_boxes(file: bytes, boxes: Sequence[Box]) -> bytes:
    """The file with these boxes within `meta`; what they say of places is moved with the data."""
    start, end, payload = _meta_of(file)
    sizes = sum(8 + len(box.payload) for box in boxes)
    grown = 8 + 4 + sizes - (end - start)
    moved = [_moved(box, end, grown) if box.kind == b"iloc" else box for box in boxes]
    meta = Box(b"meta", payload[:4] + b"".join(box.encoded() for box in moved))
    return file[:start] + meta.encoded() + file[end:]


def with_properties(boxes: Sequence[Box], added: Mapping[int, Sequence[Box]]) -> list[Box]:
    """The boxes of `meta` with properties added to items, none of them essential."""
    index = next(i for i, box in enumerate(boxes) if box.kind == b"iprp")
    parts = list(_boxes(boxes[index].payload))
    at = next(i for i, box in enumerate(parts) if box.kind == b"ipco")
    number = sum(1 for _ in _boxes(parts[at].payload))
    entries = {item: list(own) for part in parts for item, own in _associations(part)}
    new = b""
    for item, properties in added.items():
        for box in properties:
            number += 1
            new += box.encoded()
            entries.setdefault(item, []).append((number, False))
    container = Box(b"ipco", parts[at].payload + new)
    payload = struct.pack(">I", len(entries))
    for item, own in sorted(entries.items()):
        payload += struct.pack(">IB", item, len(own))
        payload += b"".join(struct.pack(">H", essential << 15 | n) for n, essential in own)
    associations = full_box(b"ipma", payload, version=1, flags=1)
    iprp = Box(b"iprp", container.encoded() + associations.encoded())
    return [iprp if i == index else box for i, box in enumerate(boxes)]


def _meta_of(file: bytes) -> tuple[int, int, bytes]:
    """Where the `meta` box begins and ends, and its payload."""
    at = 0
    while at + 8 <= len(file):
        kind, start, end = _header(file, at)
        if kind == b"meta":
            return at, end, file[start:end]
        at = end
    raise ValueError("no HEIF file: there is no meta box")


def _header(data: bytes, at: int) -> tuple[bytes, int, int]:
    """Kind of the box at a place, where its payload begins, and where it ends."""
    size, kind = struct.unpack_from(">I4s", data, at)
    start = at + 8
    if size == 1:
        (size,) = struct.unpack_from(">Q", data, start)
        start += 8
    end = len(data) if size == 0 else at + size
    if not start <= end <= len(data):
        raise ValueError(f"box {kind!r} is cut off")
    return kind, start, end


def _boxes(data: bytes) -> Iterator[Box]:
    at = count = 0
    while at + 8 <= len(data):
        kind, start, end = _header(data, at)
        yield Box(kind, data[start:end])
        at, count = end, count + 1
        if count > MAX_BOXES:
            raise ValueError("there are too many boxes")


def _infos(box: Box) -> Iterator[tuple[int, bytes, str]]:
    """Number, kind and content type of each item."""
    for info in _boxes(box.payload[6 if box.version == 0 else 8 :]):
        if info.kind != b"infe" or info.version < 2:
            continue
        number, _, kind = struct.unpack_from(
            ">HH4s" if info.version == 2 else ">IH4s", info.payload, 4
        )
        rest = info.payload[12 if info.version == 2 else 14 :]
        names = rest.split(b"\0")
        content_type = names[1].decode("latin1") if kind == b"mime" and len(names) > 1 else ""
        yield number, kind, content_type


def _references(box: Box) -> tuple[Reference, ...]:
    letter = "H" if box.version == 0 else "I"
    found = []
    for reference in _boxes(box.payload[4:]):
        source, count = struct.unpack_from(f">{letter}H", reference.payload)
        targets = struct.unpack_from(
            f">{count}{letter}", reference.payload, struct.calcsize(f">{letter}H")
        )
        found.append(Reference(reference.kind, source, targets))
    return tuple(found)


def _properties(box: Box) -> dict[int, tuple[Box, ...]]:
    """Each item's properties."""
    parts = list(_boxes(box.payload))
    held = [p for part in parts if part.kind == b"ipco" for p in _boxes(part.payload)]
    found: dict[int, tuple[Box, ...]] = {}
    for part in parts:
        for item, entries in _associations(part):
            # 0 stands for none.
            found[item] = tuple(held[n - 1] for n, _ in entries if n)
    return found


def _associations(box: Box) -> Iterator[tuple[int, list[tuple[int, bool]]]]:
    """Of an `ipma` box: item, and numbers of its properties with whether they are essential."""
    if box.kind != b"ipma":
        return
    (count,) = struct.unpack_from(">I", box.payload, 4)
    at = 8
    for _ in range(count):
        item, own = struct.unpack_from(">HB" if box.version < 1 else ">IB", box.payload, at)
        at += 3 if box.version < 1 else 5
        wide = bool(box.flags & 1)
        values = struct.unpack_from(f">{own}{'H' if wide else 'B'}", box.payload, at)
        at += own * (2 if wide else 1)
        top = 15 if wide else 7
        yield item, [(value & ((1 << top) - 1), bool(value >> top)) for value in values]


class _Place(NamedTuple):
    """An entry of `iloc`; the numbers are places of fields in its payload, for moving them."""

    item: int
    method: int
    base_at: int
    base: int
    extents: list[tuple[int, int, int]]
    """Where its offset is written, the offset, and the length."""


def _entries(box: Box) -> Iterator[_Place]:
    data = box.payload
    offset_size, length_size = data[4] >> 4, data[4] & 15
    base_size, index_size = data[5] >> 4, data[5] & 15 if box.version else 0
    wide = box.version == 2
    (count,) = struct.unpack_from(">I" if wide else ">H", data, 6)
    at = 10 if wide else 8

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(data):
            raise ValueError("the places of items are cut off")
        value = int.from_bytes(data[at : at + size], "big")
        at += size
        return value

    extents_left = MAX_EXTENTS
    for _ in range(count):
        item = number(4 if wide else 2)
        method = number(2) & 15 if box.version else 0
        number(2)  # data reference
        base_at = at
        base = number(base_size)
        num_extents = number(2)
        extents_left -= num_extents
        if extents_left < 0:
            raise ValueError("there are too many extents")
        extents = []
        for _ in range(num_extents):
            number(index_size)
            offset_at = at
            offset = number(offset_size)
            extents.append((offset_at, offset, number(length_size)))
        yield _Place(item, method, base_at, base, extents)


def _places(box: Box) -> dict[int, tuple[tuple[tuple[int, int], ...], bool]]:
    """Each item's extents, and whether they lie in `idat`."""
    found = {}
    for entry in _entries(box):
        if entry.method > 1:
            continue  # within another item: nothing we read lies there
        extents = tuple((entry.base + offset, length) for _, offset, length in entry.extents)
        found[entry.item] = (extents, entry.method == 1)
    return found


def _moved(box: Box, border: int, by: int) -> Box:
    """`iloc` for a file in which what lies from `border` on is moved."""
    data = bytearray(box.payload)
    offset_size, base_size = data[4] >> 4, data[5] >> 4

    def write(at: int, value: int, size: int) -> None:
        data[at : at + size] = value.to_bytes(size, "big")

    for entry in _entries(box):
        if entry.method != 0:
            continue
        if base_size and entry.base >= border:
            write(entry.base_at, entry.base + by, base_size)
            continue
        for at, offset, _ in entry.extents:
            if entry.base + offset >= border:
                write(at, offset + by, offset_size)
    return Box(box.kind, bytes(data))
