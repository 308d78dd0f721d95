"""XMP packets in JPEGs: found, put together, checked; and written so that exiftool reads them."""

import hashlib
import io
import json
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama import xmp
from diorama.xmp import jpeg_end, jpeg_packets, packet_of, parse, property_of, with_packets

NAMESPACE = "http://example.org/ns/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is absent")


def jpeg(
    width: int = 24, height: int = 16, *, progressive: bool = False, restart: int = 0
) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(
        file, "JPEG", progressive=progressive, restart_marker_blocks=restart, quality=95
    )
    return file.getvalue()


def segment(payload: bytes, marker: int = 0xE1) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_segments(data: bytes, *payloads: bytes) -> bytes:
    return data[:2] + b"".join(segment(payload) for payload in payloads) + data[2:]


def document(attributes: str = "", body: str = "") -> bytes:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
        f'<rdf:Description rdf:about="" xmlns:e="{NAMESPACE}" '
        f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" {attributes}>{body}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def extended(
    whole: bytes, *, size: int = 100, guid: bytes | None = None
) -> tuple[bytes, list[bytes]]:
    """The main packet's payload and the extended one's, by the specification's text."""
    guid = guid or hashlib.md5(whole).hexdigest().upper().encode()
    main = b"http://ns.adobe.com/xap/1.0/\0" + document(f'xmpNote:HasExtendedXMP="{guid.decode()}"')
    parts = [
        b"http://ns.adobe.com/xmp/extension/\0"
        + guid
        + struct.pack(">II", len(whole), at)
        + whole[at : at + size]
        for at in range(0, len(whole), size)
    ]
    return main, parts


class TestParse:
    def test_a_property_is_an_attribute_or_an_element(self) -> None:
        assert property_of(parse(document('e:A="1"')), NAMESPACE, "A") == "1"
        assert property_of(parse(document("", "<e:A>2</e:A>")), NAMESPACE, "A") == "2"
        assert property_of(parse(document("", "<e:A/>")), NAMESPACE, "A") == ""
        assert property_of(parse(document('e:A="1"')), NAMESPACE, "B") is None
        assert property_of(parse(document('e:A="1"')), "http://other/", "A") is None

    def test_a_list(self) -> None:
        items = "<e:L><rdf:Seq><rdf:li>1</rdf:li><rdf:li>2.5</rdf:li></rdf:Seq></e:L>"
        assert xmp.list_of(parse(document("", items)), NAMESPACE, "L") == ["1", "2.5"]
        assert xmp.list_of(parse(document()), NAMESPACE, "L") == []

    def test_other_encodings_and_padding(self) -> None:
        text = document('e:A="ä"').decode()
        for packet in (text.encode("utf-8-sig"), text.encode("utf-16"), text.encode() + b" \n\0\0"):
            assert property_of(parse(packet), NAMESPACE, "A") == "ä"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_a_billion_laughs_are_refused_at_once(self, encoding: str) -> None:
        entities = '<!ENTITY a0 "ha">' + "".join(
            f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
        )
        bomb = f"<!DOCTYPE x [{entities}]><x>&a11;</x>".encode(encoding)
        start = time.perf_counter()
        with pytest.raises(ValueError, match="declares a document type"):
            parse(bomb)
        assert time.perf_counter() - start < 1

    def test_outside_entities_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        packet = f'<!DOCTYPE x [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]><x>&s;</x>'
        with pytest.raises(ValueError, match="declares a document type"):
            parse(packet.encode())

    @pytest.mark.parametrize("packet", [b"", b"<a", b"<a></b>", b"\xff\xfe", b"<a/><b/>", b"&amp;"])
    def test_what_is_no_xml_is_a_value_error(self, packet: bytes) -> None:
        with pytest.raises(ValueError, match="is not XML"):
            parse(packet)

    def test_too_many_elements_are_refused(self) -> None:
        with pytest.raises(ValueError, match="more than 20000 elements"):
            parse(b"<a>" + b"<b/>" * 30_000 + b"</a>")
        with pytest.raises(ValueError, match="or 100 in one another"):
            parse(b"<a>" * 101)

    def test_too_many_bytes_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(xmp, "MAX_PACKET_BYTES", 100)
        with pytest.raises(ValueError, match="more than 100 bytes"):
            parse(document())


class TestSegments:
    def test_main_and_extended_in_any_order_of_segments(self) -> None:
        whole = document('e:A="1"', "<e:B>" + "x" * 500 + "</e:B>")
        main, parts = extended(whole)
        random.Random(1).shuffle(parts)
        middle = len(parts) // 2
        data = with_segments(jpeg(), *parts[:middle], main, *parts[middle:])
        assert jpeg_packets(data) == [main[29:], whole]

    def test_too_many_segments_are_refused(self) -> None:
        data = b"\xff\xd8" + b"\xff\xe5\0\2" * 30_000
        with pytest.raises(ValueError, match="more than 20000 segments"):
            jpeg_packets(data)
        scans = jpeg()[:-2] + b"\xff\xda\0\2" * 30_000 + b"\xff\xd9"
        with pytest.raises(ValueError, match="is cut off"):
            jpeg_end(scans)

    def test_an_extended_packet_that_was_stripped(self) -> None:
        main, _ = extended(document('e:A="1"'))
        assert jpeg_packets(with_segments(jpeg(), main)) == [main[29:]]

    def test_no_xmp_and_no_extended_xmp(self) -> None:
        assert jpeg_packets(jpeg()) == []
        main = b"http://ns.adobe.com/xap/1.0/\0" + document('e:A="1"')
        _, foreign = extended(document())
        assert jpeg_packets(with_segments(jpeg(), main, *foreign)) == [main[29:]]

    def test_segments_of_another_name_are_passed_over(self) -> None:
        main, parts = extended(document('e:A="1"'))
        _, foreign = extended(document('e:A="2"'))
        packets = jpeg_packets(with_segments(jpeg(), main, *foreign, *parts))
        assert property_of(parse(packets[1]), NAMESPACE, "A") == "1"

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda parts: parts[1:], "is incomplete"),
            (lambda parts: parts[:-1], "is incomplete"),
            (lambda parts: [*parts, parts[0]], "is incomplete"),
            (lambda parts: [parts[0][:70], *parts[1:]], "is damaged"),
            (lambda parts: [*parts[:-1], parts[-1][:-1] + b"X"], "not what its MD5 says"),
            (
                lambda parts: [p[:67] + struct.pack(">I", 4_000_000_000) + p[71:] for p in parts],
                "claims 4000000000 bytes",
            ),
        ],
    )
    def test_a_spoiled_extended_packet_is_a_value_error(self, spoil, message: str) -> None:
        main, parts = extended(document("", "<e:B>" + "x" * 500 + "</e:B>"))
        with pytest.raises(ValueError, match=message):
            jpeg_packets(with_segments(jpeg(), main, *spoil(parts)))

    def test_damaged_segments_are_a_value_error(self) -> None:
        data = jpeg()
        for spoiled in (
            b"",
            b"text",
            data[:10],
            data[:2] + b"\xff\xe1\xff\xff",
            data[:2] + b"xxxx",
        ):
            with pytest.raises(ValueError, match="JPEG"):
                jpeg_end(spoiled)

    @pytest.mark.parametrize(("progressive", "restart"), [(False, 0), (True, 0), (False, 1)])
    def test_the_end_of_a_jpeg_with_more_behind_it(self, progressive: bool, restart: int) -> None:
        data = jpeg(progressive=progressive, restart=restart)
        assert b"\xff\x00" in data
        assert (b"\xff\xd0" in data) == bool(restart)
        assert jpeg_end(data + jpeg()) == len(data)
        with pytest.raises(ValueError, match="is cut off"):
            jpeg_end(data[:-2])


class TestWriting:
    def test_what_is_written_is_read(self) -> None:
        main = packet_of({"e": NAMESPACE, "xmpNote": xmp.NOTE}, {"e:A": "a <b> & \"c\" 'd'\nä"})
        whole = packet_of({"e": NAMESPACE}, {"e:B": "x" * 200_000})
        main = packet_of(
            {"e": NAMESPACE, "xmpNote": xmp.NOTE},
            {
                "e:A": "a <b> & \"c\" 'd' ä",
                "xmpNote:HasExtendedXMP": xmp.extended_name(whole),
            },
        )
        data = with_packets(jpeg(), main, whole)
        packets = jpeg_packets(data)
        assert property_of(parse(packets[0]), NAMESPACE, "A") == "a <b> & \"c\" 'd' ä"
        assert packets[1] == whole
        before, after = (np.asarray(Image.open(io.BytesIO(d))) for d in (jpeg(), data))
        assert np.array_equal(before, after)

    def test_a_main_packet_that_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="more than fit into a segment"):
            with_packets(jpeg(), packet_of({"e": NAMESPACE}, {"e:A": "x" * 66_000}))

    @needs_exiftool
    def test_exiftool_reads_it(self, tmp_path: Path) -> None:
        namespaces = {"GDepth": "http://ns.google.com/photos/1.0/depthmap/"}
        whole = packet_of(namespaces, {"GDepth:Data": "QUJD" * 40_000})
        main = packet_of(
            {**namespaces, "xmpNote": xmp.NOTE},
            {"GDepth:Near": "1.5", "xmpNote:HasExtendedXMP": xmp.extended_name(whole)},
        )
        path = tmp_path / "a.jpg"
        path.write_bytes(with_packets(jpeg(), main, whole))
        tags = json.loads(
            subprocess.run(
                ["exiftool", "-j", "-a", "-XMP:all", "-Warning", str(path)],
                check=True,
                capture_output=True,
            ).stdout
        )[0]
        assert tags["Near"] == 1.5
        assert "Warning" not in tags
        command = ["exiftool", "-b", "-XMP-GDepth:DepthImage", str(path)]
        got = subprocess.run(command, check=True, capture_output=True).stdout
        assert got == b"ABC" * 40_000
