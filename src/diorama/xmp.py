"""XMP: the XML that photos carry, in JPEG segments and as elements to ask for properties.

Adobe, "XMP Specification Part 3: Storage in Files" (2020), 1.1.3: a JPEG holds one packet of at
most 65,502 bytes in an APP1 segment; what does not fit stands in a second packet, cut into APP1
segments of its own, which names itself by its MD5.

What is read may be anybody's: packets and elements are limited in size and number, and a packet
that declares a document type, and could so define entities, is refused before its first element.
"""

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_SEGMENT = b"http://ns.adobe.com/xmp/extension/\0"

MAX_PACKET_BYTES = 64_000_000
"""Of all of a picture's XMP together: depth maps in base64 are a hundredth of that."""

MAX_ELEMENTS = 20_000
"""Of one packet; editing histories have thousands."""

MAX_NESTING = 100
"""Of elements; ten are many."""

MAX_SEGMENTS = 20_000
"""Of one JPEG, so that no file takes long; the largest extended packet has a thousand."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NOTE = "http://ns.adobe.com/xmp/note/"

_WRAPPER = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>',
    b'<?xpacket end="r"?>',
)
_GUID_BYTES = 32
_MAX_SEGMENT = 65_533
_EXTENDED_PART = 65_000
_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
# In compressed data FF is followed by 0 if it is data, and by D0..D7 at restarts.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class Segment:
    """A marker segment of a JPEG."""

    marker: int
    """Its second byte: 0xE1 is APP1."""
    start: int
    """Where its payload begins, in bytes from the beginning of the data."""
    payload: bytes


def jpeg_segments(data: bytes, start: int = 0) -> Iterator[Segment]:
    """The segments of the JPEG that begins at `start`, up to its first scan.

    Raises:
        ValueError: where it is no JPEG.
    """
    if data[start : start + 2] != b"\xff\xd8":
        raise ValueError("no JPEG begins here")
    at = start + 2
    for _ in range(MAX_SEGMENTS):
        if at + 4 > len(data):
            return
        if data[at] != 0xFF:
            raise ValueError("a JPEG segment is damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _END:
            return
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2 or at + 2 + size > len(data):
            raise ValueError("a JPEG segment is cut off")
        yield Segment(marker, at + 4, data[at + 4 : at + 2 + size])
        if marker == _START_OF_SCAN:
            return
        at += 2 + size
    raise ValueError(f"a JPEG has more than {MAX_SEGMENTS} segments")


def jpeg_end(data: bytes) -> int:
    """Where the JPEG at the beginning of `data` ends and what is appended to it begins.

    Raises:
        ValueError: if it does not end.
    """
    at = len(data)
    for segment in jpeg_segments(data):
        at = segment.start + len(segment.payload)
    for _ in range(MAX_SEGMENTS):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            break
        at = found.start()
        if data[at + 1] == _END:
            return at + 2
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    raise ValueError("the JPEG is cut off")


def jpeg_packets(data: bytes, start: int = 0) -> list[bytes]:
    """The XMP packets of the JPEG that begins at `start`: the main one, then the extended one.

    Segments of the extended packet may stand in any order. One whose name is not the one the main
    packet gives is passed over, as the specification asks.

    Raises:
        ValueError: if the extended packet is too large, incomplete, or not what its MD5 says.
    """
    packets: list[bytes] = []
    parts: dict[bytes, list[bytes]] = {}
    for segment in jpeg_segments(data, start):
        if segment.marker != _APP1:
            continue
        if segment.payload.startswith(XMP_SEGMENT):
            packets.append(segment.payload[len(XMP_SEGMENT) :])
        elif segment.payload.startswith(EXTENDED_SEGMENT):
            rest = segment.payload[len(EXTENDED_SEGMENT) :]
            parts.setdefault(rest[:_GUID_BYTES].upper(), []).append(rest[_GUID_BYTES:])
    if not packets:
        return []
    guid = property_of(parse(packets[0]), NOTE, "HasExtendedXMP")
    if guid is None:
        return packets[:1]
    name = guid.strip().upper().encode("ascii", "replace")
    if name not in parts:
        return packets[:1]  # as many an editor leaves it
    return [packets[0], _joined(parts[name], name)]


def _joined(parts: list[bytes], name: bytes) -> bytes:
    """The extended packet from its parts, each of which tells the whole length and its place."""
    if any(len(part) < 8 for part in parts):
        raise ValueError("the extended XMP is damaged")
    whole, _ = struct.unpack(">II", parts[0][:8])
    if whole > MAX_PACKET_BYTES:
        raise ValueError(f"the extended XMP claims {whole} bytes, more than {MAX_PACKET_BYTES}")
    ordered = sorted(parts, key=lambda part: part[4:8])
    reached = 0
    for part in ordered:
        length, offset = struct.unpack(">II", part[:8])
        if length != whole or offset != reached:
            raise ValueError("the extended XMP is incomplete")
        reached += len(part) - 8
    if reached != whole:
        raise ValueError("the extended XMP is incomplete")
    packet = b"".join(part[8:] for part in ordered)
    if hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode() != name:
        raise ValueError("the extended XMP is not what its MD5 says")
    return packet


def parse(packet: bytes) -> Element:
    """The elements of a packet; names are "{namespace}name".

    Raises:
        ValueError: if it is not XML, declares a document type, or is too large.
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise ValueError(f"the XMP has more than {MAX_PACKET_BYTES} bytes")
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    count = nesting = 0

    def qualified(name: str) -> str:
        return f"{{{name}" if "}" in name else name

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, nesting
        count, nesting = count + 1, nesting + 1
        if count > MAX_ELEMENTS or nesting > MAX_NESTING:
            raise ValueError(
                f"the XMP has more than {MAX_ELEMENTS} elements, or {MAX_NESTING} in one another"
            )
        builder.start(qualified(name), {qualified(k): v for k, v in attributes.items()})

    def end(name: str) -> None:
        nonlocal nesting
        nesting -= 1
        builder.end(qualified(name))

    def refuse(*_: object) -> None:
        raise ValueError("the XMP declares a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        # Padding; in UTF-16 a zero may be half a letter.
        wide = packet.startswith((b"\xff\xfe", b"\xfe\xff"))
        parser.Parse(packet if wide else packet.strip(b"\0 \r\n\t"), True)
        return builder.close()
    except expat.ExpatError as error:
        raise ValueError(f"the XMP is not XML: {error}") from error


def property_of(element: Element, namespace: str, name: str) -> str | None:
    """The first value of a property of `element` or within it; None if there is none.

    XMP may write a simple property as an attribute or as an element.
    """
    key = f"{{{namespace}}}{name}"
    for node in element.iter():
        if key in node.attrib:
            return node.attrib[key]
        if node.tag == key:
            return node.text or ""
    return None


def list_of(element: Element, namespace: str, name: str) -> list[str]:
    """The items of a list within `element`; empty if there is none."""
    for node in element.iter(f"{{{namespace}}}{name}"):
        return [item.text or "" for item in node.iter(f"{{{RDF}}}li")]
    return []


def packet_of(namespaces: dict[str, str], properties: dict[str, str]) -> bytes:
    """A packet of simple properties.

    Args:
        namespaces: addresses by prefix.
        properties: values by "prefix:name".
    """
    lines = [f" xmlns:{prefix}={quoteattr(address)}" for prefix, address in namespaces.items()]
    lines += [f" {name}={quoteattr(value)}" for name, value in properties.items()]
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
        f'<rdf:Description rdf:about=""{"".join(lines)}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def extended_name(packet: bytes) -> str:
    """What the main packet's `xmpNote:HasExtendedXMP` calls an extended packet."""
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()


def with_packets(jpeg: bytes, main: bytes, extended: bytes = b"") -> bytes:
    """`jpeg`, which holds no XMP yet, with these packets after its first APP0 and APP1 segments.

    Raises:
        ValueError: if the main packet is too large for a segment.
    """
    if len(XMP_SEGMENT) + len(main) + sum(map(len, _WRAPPER)) > _MAX_SEGMENT:
        raise ValueError(f"the main XMP packet has {len(main)} bytes, more than fit into a segment")
    at = 2
    while jpeg[at : at + 2] in (b"\xff\xe0", b"\xff\xe1"):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    payloads = [XMP_SEGMENT + _WRAPPER[0] + main + _WRAPPER[1]]
    name = extended_name(extended).encode()
    for offset in range(0, len(extended), _EXTENDED_PART):
        place = struct.pack(">II", len(extended), offset)
        part = extended[offset : offset + _EXTENDED_PART]
        payloads.append(EXTENDED_SEGMENT + name + place + part)
    segments = (b"\xff\xe1" + struct.pack(">H", len(p) + 2) + p for p in payloads)
    return jpeg[:at] + b"".join(segments) + jpeg[at:]
