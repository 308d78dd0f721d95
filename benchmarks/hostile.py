"""Hostile files: seeded mutations of valid files of every format that comes in.

A fresh process reads each mutated file the way a user would. It may read it or refuse it with a
`DioramaError`; another exception, a crash, more than ten seconds or more than two gigabytes is a
failure: the file is kept in `--keep`, and the exit status is 1. The same seed makes the same files.

``python benchmarks/hostile.py [--mutations N] [--seed N] [--only FORMAT,...] [--keep DIR]``
"""

import argparse
import io
import multiprocessing
import multiprocessing.connection
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from PIL import Image, ImageCms

MUTATIONS = 2000
MAX_SECONDS = 10.0
MAX_MB = 2048.0
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER_BYTES = 512
"""Half of the mutations go here: what says how large things are."""


def main() -> int:
    args = arguments()
    wanted = args.only.split(",") if args.only else list(FORMATS)
    count = 50 if args.quick else args.mutations
    result = common.Result("hostile", seed=args.seed)
    failures: list[str] = []
    for name in wanted:
        reader = Reader(name)
        outcomes: list[Outcome] = []
        for number in range(count):
            outcome = reader.read(args.seed, number)
            outcomes.append(outcome)
            if outcome.failure:
                failures.append(f"{name} {number}: {outcome.failure}")
                print(failures[-1], file=sys.stderr, flush=True)
                if args.keep:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    kept = args.keep / f"{name}-{args.seed}-{number}{FORMATS[name].suffix}"
                    kept.write_bytes(mutated(FORMATS[name].make(), args.seed, number))
        reader.close()
        metrics = {
            "mutations": count,
            "read": sum(o.read for o in outcomes),
            "refused": sum(not o.read and not o.failure for o in outcomes),
            "failures": sum(bool(o.failure) for o in outcomes),
            "slowest_s": max(o.seconds for o in outcomes),
            "peak_mb": max(o.peak_mb for o in outcomes),
        }
        result.add(name, name, metrics)
        print(name, metrics, file=sys.stderr, flush=True)
    result.finish(args)
    return 1 if failures else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="not used: the files are made here")
    parser.add_argument("--json", type=Path, help="write rows and summary here")
    parser.add_argument("--quick", action="store_true", help="50 mutations of each format")
    parser.add_argument("--mutations", type=int, default=MUTATIONS, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="formats, with commas")
    parser.add_argument("--keep", type=Path, help="folder for files that made something fail")
    return parser.parse_args()


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    read: bool
    failure: str
    """Empty if the file was read or refused."""
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Format:
    """One kind of file, how it is made and how it is read."""

    suffix: str
    make: Callable[[], bytes]
    """A valid file."""
    read: Callable[[Path], object]
    """What a user does with it."""


class Reader:
    """A process that reads files, replaced when one kills it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(self.name, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it has read the valid file

    def read(self, seed: int, number: int) -> Outcome:
        """Have the mutation of this number read."""
        self._pipe.send((seed, number))
        begin = time.perf_counter()
        if not self._pipe.poll(2 * MAX_SECONDS):
            self._replace()
            return Outcome(False, "hangs", time.perf_counter() - begin, 0.0)
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._replace()
            return Outcome(False, f"crashed with {code}", time.perf_counter() - begin, 0.0)

    def _replace(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def serve(name: str, pipe: multiprocessing.connection.Connection) -> None:
    """Read what is asked for until the pipe closes."""
    from diorama.errors import DioramaError

    entry = FORMATS[name]
    valid = entry.make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{entry.suffix}"
        path.write_bytes(valid)
        entry.read(path)
        pipe.send(None)
        while True:
            seed, number = pipe.recv()
            path.write_bytes(mutated(valid, seed, number))
            reset_peak()
            failure, read = "", False
            begin = time.perf_counter()
            try:
                entry.read(path)
                read = True
            except DioramaError as error:
                if len(str(error).splitlines()) != 1:
                    failure = f"message of several lines: {error}"
            except BaseException:  # noqa: BLE001 (whatever it is, it is what we look for)
                failure = traceback.format_exc(limit=-2).strip().replace("\n", " | ")
            seconds, peak = time.perf_counter() - begin, peak_mb()
            if seconds > MAX_SECONDS:
                failure = failure or f"took {seconds:.1f} s"
            if peak > MAX_MB:
                failure = failure or f"took {peak:.0f} MB"
            pipe.send(Outcome(read, failure, seconds, peak))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def mutated(data: bytes, seed: int, number: int) -> bytes:
    """One to eight changes: bytes, whole numbers, blocks lost, repeated, moved, or the end."""
    rng = np.random.default_rng([seed, number])
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if not out:
            break
        reach = len(out) if rng.random() < 0.5 else min(len(out), HEADER_BYTES)
        at = int(rng.integers(reach))
        size = int(rng.integers(1, max(2, min(len(out) - at, 64) + 1)))
        match int(rng.integers(9)):
            case 0:
                out[at] ^= 1 << int(rng.integers(8))
            case 1:
                out[at] = (0, 0xFF, 0x7F, 0x20, int(rng.integers(256)))[int(rng.integers(5))]
            case 2 | 3:
                code = str(rng.choice(["<H", ">H", "<I", ">I"]))
                value = int(rng.choice(INTERESTING)) & (0xFFFF if "H" in code else 0xFFFFFFFF)
                out[at : at + struct.calcsize(code)] = struct.pack(code, value)
            case 4:
                del out[at : at + size]
            case 5:
                out[at:at] = out[at : at + size]
            case 6:
                out[at:at] = rng.bytes(size)
            case 7:
                to = int(rng.integers(len(out)))
                out[to : to + size] = out[at : at + size]
            case 8 if rng.random() < 0.3:
                del out[int(rng.integers(len(out))) :]
    return bytes(out)


def picture() -> Image.Image:
    y, x = np.mgrid[:72, :96]
    noise = np.random.default_rng(0).integers(0, 40, (72, 96, 3))
    return Image.fromarray((np.dstack([x * 2, y * 2, x + y]) + noise).astype(np.uint8))


def rgba() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 28
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if format not in ("BMP", "GIF"):
        options["icc_profile"] = icc
    if format not in ("BMP", "GIF", "TIFF"):
        options["exif"] = exif.tobytes()
    image.save(file, format, **options)
    return file.getvalue()


def animated(format: str) -> bytes:
    frames = [picture().rotate(angle) for angle in (0, 90, 180)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:])


def heic() -> bytes:
    import pillow_heif

    file = io.BytesIO()
    image = rgba()
    heif = pillow_heif.from_bytes("RGBA", image.size, image.tobytes())
    heif.save(file, quality=80)
    return file.getvalue()


def exr(channels: dict[str, np.ndarray]) -> bytes:
    import OpenEXR

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.exr"
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, channels).write(str(path))
        return path.read_bytes()


def depth() -> np.ndarray:
    y, x = np.mgrid[:72, :96].astype(np.float32)
    return 1 + x / 96 + (y > 40)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, depth())
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, depth=depth())
    return file.getvalue()


def exported(suffix: str) -> bytes:
    """A small scene of the bundled photo in one of our own formats."""
    from diorama import photo_to_scene
    from diorama.config import SceneConfig

    demo = Path(__file__).parents[1] / "src" / "diorama" / "data" / "demo.jpg"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        photo_to_scene(demo, config=SceneConfig(max_size=96, texture_size=96)).export(path)
        return path.read_bytes()


def read_photo(path: Path) -> object:
    from diorama import load_photo, own_depth

    return load_photo(path), own_depth(path)


def read_depth_file(path: Path) -> object:
    from diorama.depth_files import read_depth

    return read_depth(path)


def read_scene(path: Path) -> object:
    from diorama import open_scene

    return open_scene(path)


def read_path(path: Path) -> object:
    from diorama import load_path

    return load_path(path)


KEY_FRAMES = b"""{"fps": 30, "loop": true, "easing": "linear",
 "keys": [{"t": 0, "position": [-1, 0, 0], "look_at": [0, 0, 2], "fov_deg": 50},
          {"t": 2, "position": [1, 0, 0.5], "look_at": [0, 0, 2], "fov_deg": 45},
          {"t": 4, "position": [-1, 0, 0], "look_at": [0, 0, 2], "fov_deg": 50}]}"""

FORMATS = {
    "jpeg": Format(".jpg", lambda: saved(picture(), "JPEG", progressive=True), read_photo),
    "mpo": Format(".mpo", lambda: animated("MPO"), read_photo),
    "gdepth": Format(".jpg", lambda: exported(".gdepth.jpg"), read_photo),
    "png": Format(".png", lambda: saved(rgba(), "PNG"), read_photo),
    "webp": Format(".webp", lambda: saved(rgba(), "WEBP"), read_photo),
    "webp-animated": Format(".webp", lambda: animated("WEBP"), read_photo),
    "tiff": Format(".tif", lambda: saved(rgba(), "TIFF", compression="tiff_lzw"), read_photo),
    "tiff-jpeg": Format(".tif", lambda: saved(picture(), "TIFF", compression="jpeg"), read_photo),
    "bmp": Format(".bmp", lambda: saved(picture(), "BMP"), read_photo),
    "gif": Format(".gif", lambda: animated("GIF"), read_photo),
    "avif": Format(".avif", lambda: saved(rgba(), "AVIF"), read_photo),
    "heic": Format(".heic", heic, read_photo),
    "spatial-heic": Format(".heic", lambda: exported(".spatial.heic"), read_photo),
    "exr": Format(".exr", lambda: exr({"RGB": depth()[..., None].repeat(3, 2)}), read_photo),
    "depth-png": Format(
        ".png",
        lambda: saved(Image.fromarray((depth() * 9000).astype(np.uint16)), "PNG"),
        read_depth_file,
    ),
    "depth-tiff": Format(".tif", lambda: saved(Image.fromarray(depth()), "TIFF"), read_depth_file),
    "depth-exr": Format(".exr", lambda: exr({"Z": depth()}), read_depth_file),
    "depth-npy": Format(".npy", npy, read_depth_file),
    "depth-npz": Format(".npz", npz, read_depth_file),
    "scene": Format(".zip", lambda: exported(".zip"), read_scene),
    "path": Format(".json", lambda: KEY_FRAMES, read_path),
}

if __name__ == "__main__":
    sys.exit(main())
