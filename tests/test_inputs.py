"""Which photos an input means, in which order, under which names."""

import inspect
import os
import random
import sys
import unicodedata
from pathlib import Path

import pytest

from diorama.errors import InputError
from diorama.inputs import PhotoFile, find_photos, parse_shard, shard


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(photos: list[PhotoFile]) -> dict[str, str]:
    """Path and name of every photo; there are no problems."""
    assert [photo.problem for photo in photos if photo.problem] == []
    return {photo.path: photo.name for photo in photos}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestFolders:
    def test_sub_folders_are_mirrored_in_order(self, tmp_path: Path) -> None:
        names = ["b.PNG", "2020/c.webp", "2019/a.jpg", "2019/deep/er/z.heic", "10.tiff", "9.avif"]
        touch(tmp_path / "archive", *random.Random(0).sample(names, len(names)))
        touch(tmp_path / "archive", "notes.txt", "a.jpg.bak", "2019/.a.jpg", ".thumbs/x.jpg")
        assert list(found(find_photos(["archive"])).items()) == [
            ("archive/10.tiff", "10"),
            ("archive/2019/a.jpg", "2019/a"),
            ("archive/2019/deep/er/z.heic", "2019/deep/er/z"),
            ("archive/2020/c.webp", "2020/c"),
            ("archive/9.avif", "9"),
            ("archive/b.PNG", "b"),
        ]
        paths = [Path(photo.path) for photo in find_photos([Path("archive")])]
        assert paths == sorted(paths)

    def test_the_current_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.jpg", "x/b.jpg")
        assert set(found(find_photos(["."])).values()) == {"a", "x/b"}

    def test_links_are_followed_once(self, tmp_path: Path) -> None:
        touch(tmp_path, "archive/2019/a.jpg", "elsewhere/b.jpg")
        for link, target in (
            ("archive/loop", "."),
            ("archive/2019/up", ".."),
            ("archive/other", "../elsewhere"),
            ("archive/same", "2019"),
            ("elsewhere/back", "../archive"),
        ):
            (tmp_path / link).symlink_to(target)
        assert sorted(found(find_photos(["archive"])).values()) == ["2019/a", "other/b"]
        assert sorted(found(find_photos(["archive/**/*.jpg"])).values()) == ["2019/a", "other/b"]

    def test_linked_photos_count_and_other_things_do_not(self, tmp_path: Path) -> None:
        touch(tmp_path, "store/1234", "archive/a.jpg")
        (tmp_path / "archive" / "b.jpg").symlink_to(tmp_path / "store" / "1234")
        (tmp_path / "archive" / "gone.jpg").symlink_to("nowhere")
        os.mkfifo(tmp_path / "archive" / "pipe.jpg")
        (tmp_path / "archive" / "folder.jpg").mkdir()
        assert list(found(find_photos(["archive"])).values()) == ["a", "b", "gone"]

    def test_results_are_no_photos(self, tmp_path: Path) -> None:
        touch(tmp_path, "in/cat.jpg", "in/dog.gif", "in/new.gif", "in/cow.png", "in/bird.sbs.jpg")
        touch(tmp_path, "in/cat.diorama/photo.png", "in/cat.gif", "in/cat.sbs.jpg")
        touch(tmp_path, "in/cat.layers/0.png", "in/cat.depth/d.png", "in/dog.diorama/photo.png")
        touch(tmp_path, "in/cow.zip", "in/cow.gif", "in/plain.layers/0.png")
        assert list(found(find_photos(["in"])).values()) == [
            *("bird.sbs", "cat", "cow", "dog", "new", "plain.layers/0")
        ]

    def test_the_results_folder_is_skipped_below_but_may_be_the_folder_itself(
        self, tmp_path: Path
    ) -> None:
        touch(tmp_path, "in/cat.jpg", "in/out/cat.gif", "in/more/out/dog.jpg")
        assert list(found(find_photos(["in"], out="in/out")).values()) == ["cat", "more/out/dog"]
        assert len(find_photos(["in"], out="in")) == 3
        assert len(find_photos(["in"])) == 3

    def test_names_of_every_kind(self, tmp_path: Path) -> None:
        names = ["a b", "it's", 'say "hi"', "🐈", "new\nline", "tab\t", "-o", "a[1]", "*", "ä.b.c"]
        touch(tmp_path / "in", *(f"{name}.jpg" for name in names))
        raw = os.fsdecode(b"ol\xe9")
        touch(tmp_path / "in", f"{raw}.jpg")
        assert set(found(find_photos(["in"])).values()) == {*names, raw}

    def test_folders_deeper_than_the_stack(self, tmp_path: Path) -> None:
        touch(tmp_path, "d/" * 300 + "a.jpg")
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack()) + 200)
        try:
            photos = find_photos(["d"])
        finally:
            sys.setrecursionlimit(before)
        assert [photo.name for photo in photos] == ["d/" * 299 + "a"]


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("archive/*.jpg", ["a"]),
            ("archive/*/*.jpg", ["2019/b", "2020/b"]),
            ("archive/**/*.jpg", ["2019/b", "2019/x/c", "2020/b", "a"]),
            ("archive/**", ["2019/b", "2019/x/c", "2020/b", "2020/p", "a"]),
            ("archive/**/x/**/*.jpg", ["2019/x/c"]),
            ("archive/20[0-1]9", ["2019/b", "2019/x/c"]),
            ("archive/20?0/*", ["2020/b", "2020/p"]),
            ("*/2020", ["archive/2020/b", "archive/2020/p"]),
            ("**/p.png", ["archive/2020/p"]),
        ],
    )
    def test_what_fits(self, tmp_path: Path, pattern: str, names: list[str]) -> None:
        touch(tmp_path / "archive", "a.jpg", "2019/b.jpg", "2019/x/c.jpg", "2020/b.jpg")
        touch(tmp_path / "archive", "2020/p.png", "a.txt", ".hidden/a.jpg", "2020/.b.jpg")
        assert list(found(find_photos([pattern])).values()) == names
        absolute = found(find_photos([str(tmp_path / pattern)]))
        assert list(absolute.values()) == names
        assert all(Path(path).is_file() for path in absolute)

    def test_a_file_of_that_very_name_wins(self, tmp_path: Path) -> None:
        touch(tmp_path, "a[1].jpg", "a1.jpg", "photos [2019]/b.jpg", "star*/c.jpg", "start/d.jpg")
        assert found(find_photos(["a[1].jpg"])) == {"a[1].jpg": "a[1]"}
        assert found(find_photos(["photos [2019]/*.jpg"])) == {"photos [2019]/b.jpg": "b"}
        assert found(find_photos(["star*"])) == {"star*/c.jpg": "c"}

    def test_only_what_can_fit_is_looked_into(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch(tmp_path, "in/a/x.jpg", "in/b/x.jpg", "in/a/deep/x.jpg")
        scandir, seen = os.scandir, []
        monkeypatch.setattr(os, "scandir", lambda path: seen.append(path) or scandir(path))
        find_photos(["in/a/*.jpg"])
        find_photos(["in/[ab]/x.jpg"])
        assert seen == ["in/a", "in", "in/a", "in/b"]


class TestLists:
    def test_a_line_a_path_relative_to_the_list(self, tmp_path: Path) -> None:
        touch(tmp_path, "p/a.jpg", "p/sub/b.jpg", "p/# c.jpg", "p/folder/d.jpg", "q/e.jpg")
        lines = "\ufeffa.jpg\r\n\n# a comment\nsub/b.jpg\n  \n./# c.jpg\nfolder\n../q/e.jpg\n"
        lines += f"{tmp_path}/p/sub/b.jpg\ngone.jpg"
        (tmp_path / "p" / "list.txt").write_text(lines, encoding="utf-8")
        assert found(find_photos(["@p/list.txt"])) == {
            "p/a.jpg": "a",
            "p/sub/b.jpg": "sub/b",
            "p/./# c.jpg": "# c",
            "p/folder/d.jpg": "folder/d",
            "p/../q/e.jpg": "e",
            "p/gone.jpg": "gone",
        }

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"# nothing\n\n", "the list list.txt names no photo"),
            (b"a.jpg\nol\xe9.jpg\n", "line 2 of the list list.txt is not UTF-8"),
            (b"a\0.jpg\n", "line 1 of the list list.txt is not text"),
        ],
    )
    def test_lists_that_cannot_be_used(self, tmp_path: Path, data: bytes, message: str) -> None:
        (tmp_path / "list.txt").write_bytes(data)
        assert find_photos(["@list.txt"])[-1].problem == message

    def test_a_list_that_is_not_there(self) -> None:
        (photo,) = find_photos(["@list.txt"])
        assert photo.path == "@list.txt"
        assert photo.problem == "cannot read the list list.txt: No such file or directory"


class TestFiles:
    def test_files_are_taken_as_they_are_called(self) -> None:
        files = ["x/cat.jpg", "https://a.org/dog.jpg?size=*", ".hidden.png", "x/no-suffix", "/a.b"]
        assert found(find_photos(files)) == {
            "x/cat.jpg": "cat",
            "https://a.org/dog.jpg?size=*": "dog",
            ".hidden.png": ".hidden",
            "x/no-suffix": "no-suffix",
            "/a.b": "a",
        }

    def test_a_photo_given_in_several_ways_is_made_once(self, tmp_path: Path) -> None:
        touch(tmp_path, "in/a.jpg", "in/b.jpg", "in/x/c.jpg")
        (tmp_path / "link").symlink_to("in")
        (tmp_path / "list.txt").write_text("in/b.jpg\nin/./b.jpg\n")
        ways = ["in/a.jpg", "./in/a.jpg", f"{tmp_path}/in/a.jpg", "link/a.jpg", "in", "in/x"]
        ways += ["in/**/*.jpg", "@list.txt", "link"]
        assert found(find_photos(ways)) == {"in/a.jpg": "a", "in/b.jpg": "b", "in/x/c.jpg": "x/c"}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("empty", "empty holds no photo (JPEG, "),
            ("empty/*.jpg", "no photo fits empty/*.jpg (JPEG, "),
            ("gone/*/*.jpg", "no photo fits gone/*/*.jpg (JPEG, "),
            ("a.txt/*.jpg", "no photo fits a.txt/*.jpg (JPEG, "),
        ],
    )
    def test_where_nothing_is_found(self, tmp_path: Path, given: str, message: str) -> None:
        touch(tmp_path, "a.txt", "b.jpg")
        (tmp_path / "empty").mkdir()
        nothing, photo = find_photos([given, "b.jpg"])
        assert (nothing.problem or "").startswith(message)
        assert nothing.path == given
        assert photo.problem is None

    def test_a_folder_that_cannot_be_read_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch(tmp_path, "in/a.jpg", "in/closed/b.jpg")
        scandir = os.scandir

        def guarded(path: str) -> object:
            if path.endswith("closed"):  # as root every folder can be read
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        photo, problem = find_photos(["in"])
        assert photo.name == "a"
        assert problem.problem == "cannot list in/closed: Permission denied"


class TestNames:
    def test_the_same_stem_keeps_its_suffix(self, tmp_path: Path) -> None:
        touch(tmp_path, "in/a.jpg", "in/a.PNG", "in/b.jpg", "in/x/a.jpg")
        assert found(find_photos(["in"])) == {
            "in/a.PNG": "a-png",
            "in/a.jpg": "a-jpg",
            "in/b.jpg": "b",
            "in/x/a.jpg": "x/a",
        }
        # Another that comes later takes no name from one that is there.
        touch(tmp_path, "in/a.avif")
        assert found(find_photos(["in"]))["in/a.jpg"] == "a-jpg"

    def test_the_same_file_name_gets_a_number(self) -> None:
        given = ["x/cat.jpg", "y/cat.jpg", "z/cat.jpg", "cat-2.jpg", "x/dog.jpg", "y/dog.png"]
        assert list(found(find_photos(given)).values()) == [
            *("cat", "cat-3", "cat-4", "cat-2", "dog-jpg", "dog-png")
        ]
        given = ["a.jpg", "b/a.jpg", "a.png", "a-jpg.jpg", "a"]
        assert list(found(find_photos(given)).values()) == [
            *("a-jpg-2", "a-jpg-3", "a-png", "a-jpg", "a")
        ]

    def test_capitals_do_not_make_a_name_another(self, tmp_path: Path) -> None:
        touch(tmp_path, "in/Cat.jpg", "in/cat.jpg", "in/STRASSE.jpg", "in/straße.jpg")
        names = list(found(find_photos(["in"])).values())
        assert names == ["Cat", "STRASSE", "cat-2", "straße-2"]
        assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == 4

    def test_names_are_distinct_whatever_is_given(self) -> None:
        rng = random.Random(1)
        stems = ["a", "a-2", "a-jpg", "A", "a-jpg-2", "b"]
        files = [
            f"{rng.choice('xyz')}{i % 7}/{rng.choice(stems)}{rng.choice(['.jpg', '.png', ''])}"
            for i in range(300)
        ]
        photos = find_photos(files)
        assert len(photos) == len(set(files))
        assert len({photo.name.casefold() for photo in photos}) == len(photos)


class TestShards:
    @pytest.mark.parametrize("parts", [1, 2, 3, 7, 20])
    def test_every_photo_is_in_one(self, tmp_path: Path, parts: int) -> None:
        touch(tmp_path, *(f"in/{i % 3}/{i}.jpg" for i in range(17)), "in/0/3.png")
        photos = find_photos(["in"])
        split = [shard(find_photos(["in"]), part, parts) for part in range(1, parts + 1)]
        assert sorted(p.name for part in split for p in part) == sorted(p.name for p in photos)
        assert max(map(len, split)) - min(map(len, split)) <= 1

    def test_what_a_shard_is_called(self) -> None:
        assert parse_shard("2/8") == (2, 8)
        for text in ("", "2", "0/2", "3/2", "a/b", "1/-2", "1/2/3", "²/3"):
            with pytest.raises(InputError, match="a shard is a part"):
                parse_shard(text)
