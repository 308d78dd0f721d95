"""The viewer: the packaged page is the source's, and a real browser shows what it should."""

import functools
import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene, cut_out_scene
from PIL import Image

from diorama.arrays import Array
from diorama.export.html import write_embed, write_html
from diorama.testing import two_cards
from diorama.viewer import viewer_html
from diorama.viewer.messages import typescript

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
WIDTH, HEIGHT = 640, 360
GLIDE_MS = 900
"""The eye has arrived."""


def tool(name: str, package: str) -> str:
    """The path of a program; without it the test fails, for the viewer would go unchecked."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: run `make setup` or `apt-get install {package}`")
    return path


@pytest.fixture(scope="session")
def web_packages() -> Path:
    """`web/` with its pinned packages installed."""
    npm = tool("npm", "npm")
    if not (WEB / "node_modules" / "vite").is_dir():
        subprocess.run([npm, "ci", "--silent"], cwd=WEB, check=True, timeout=300)
    return WEB


def test_packaged_page_is_a_fresh_build(web_packages: Path, tmp_path: Path) -> None:
    build = [tool("npm", "npm"), "run", "--silent", "build", "--", "--outDir", str(tmp_path)]
    subprocess.run(build, cwd=web_packages, check=True, timeout=120, capture_output=True)
    fresh = (tmp_path / "viewer.html").read_text("utf-8")
    assert fresh == viewer_html(), (
        "web/ has changed: run `npm run package` there and commit the page"
    )


def test_typescript_types_are_generated_from_the_dataclasses() -> None:
    assert (WEB / "src" / "scene-data.ts").read_text("utf-8") == typescript()


def test_page_is_small_and_needs_no_network() -> None:
    page = viewer_html()
    assert len(page.encode()) < 700_000
    assert len(gzip.compress(page.encode(), mtime=0)) < 150_000
    assert "default-src 'none'" in page
    markup = re.sub(r'<script type="module".*?</script>', "", page, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", markup)
    assert not re.search(r"""(?:import|fetch|importScripts)\(["'`]http""", page)
    assert "Copyright © 2010-2026 three.js authors" in page


def test_lockfile_names_no_host() -> None:
    assert "resolved" not in (WEB / "package-lock.json").read_text("utf-8")


@dataclass(frozen=True)
class Visit:
    """What a browser reported of a page."""

    results: list
    requests: list[str]
    errors: list[str]
    shots: dict[str, Array]
    """(H, W, 3) float32 in 0..1, by name."""


@pytest.fixture(scope="module")
def browse(
    web_packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Visit]]:
    """Open the cards' page from disk and go through steps; "screenshot" takes a name."""
    command = [
        tool("node", "nodejs"),
        str(ROOT / "tests" / "browser" / "drive.mjs"),
        tool("chromium", "chromium"),
    ]
    del web_packages
    folder = tmp_path_factory.mktemp("browser")
    page = folder / "cards.html"
    write_html(card_scene(WIDTH, HEIGHT), page)
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def visit(*steps: list, page: Path = page, anchor: str = "", **options: object) -> Visit:
        shots = {step[1]: folder / f"{step[1]}.png" for step in steps if step[0] == "screenshot"}
        named = [[s[0], str(shots[s[1]])] if s[0] == "screenshot" else s for s in steps]
        plan = {"url": page.as_uri() + anchor, "width": WIDTH, "height": HEIGHT, "steps": named}
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(json.dumps({**plan, **options}) + "\n")
        driver.stdin.flush()
        report = json.loads(driver.stdout.readline())
        assert "failure" not in report, report["failure"]
        pictures = {name: _read(path) for name, path in shots.items()}
        return Visit(report["results"], report["requests"], report["errors"], pictures)

    yield visit
    driver.communicate(timeout=30)


def _read(path: Path) -> Array:
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


@functools.cache
def truth(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
    """What the cards really look like from there."""
    cards = two_cards(WIDTH, HEIGHT)
    return cards.look(cards.camera.at(x, y, z))[0].rgb


def error(a: Array, b: Array) -> float:
    return float(np.abs(a - b).mean())


OPEN: list[list] = [["open"], ["ready"]]


@pytest.fixture(scope="module")
def still_visit(browse: Callable[..., Visit]) -> Visit:
    """A frozen page, looked at from the photo's camera and two corners of the view box."""
    lose = """(async () => {
        const gl = document.querySelector("canvas").getContext("webgl2");
        const loss = gl.getExtension("WEBGL_lose_context");
        const pause = () => new Promise((done) => setTimeout(done, 100));
        loss.loseContext();
        await pause();
        loss.restoreContext();
        await pause();
    })()"""
    return browse(
        *OPEN,
        ["screenshot", "still"],
        ["drag", 320, 180, 420, 220],
        ["press", "ArrowLeft"],
        ["wait", 300],
        ["screenshot", "ignored"],
        ["evaluate", "[document.title, document.querySelector('canvas').ariaLabel]"],
        ["evaluate", "diorama.setCamera(0.03, 0.03, 0.05)"],
        ["wait", 100],
        ["screenshot", "near corner"],
        ["evaluate", "diorama.setCamera(-0.03, -0.03, -0.05)"],
        ["wait", 100],
        ["screenshot", "far corner"],
        ["evaluate", lose],
        ["screenshot", "context regained"],
        anchor="#still",
    )


@pytest.mark.browser
def test_nothing_leaves_the_page_and_nothing_goes_wrong(still_visit: Visit) -> None:
    assert still_visit.requests == []
    # Chromium itself notes the loss that the test provokes.
    assert [e for e in still_visit.errors if "context" not in e.lower()] == []


@pytest.mark.browser
def test_page_is_named_after_the_photo(still_visit: Visit) -> None:
    title, label = still_visit.results[7]
    assert title == "two cards"
    assert label.startswith("two cards: a photo with depth")


@pytest.mark.browser
def test_still_view_is_the_photo(still_visit: Visit) -> None:
    assert error(still_visit.shots["still"], truth()) < 0.005


@pytest.mark.browser
def test_frozen_page_ignores_input(still_visit: Visit) -> None:
    np.testing.assert_array_equal(still_visit.shots["ignored"], still_visit.shots["still"])


@pytest.mark.browser
def test_corners_of_the_view_box_look_as_they_should(still_visit: Visit) -> None:
    assert error(still_visit.shots["near corner"], truth(0.03, 0.03, 0.05)) < 0.01
    # Here the frame shows what the photo did not: mirrored, never empty.
    far = still_visit.shots["far corner"]
    assert error(far, truth(-0.03, -0.03, -0.05)) < 0.015
    rim = np.concatenate([far[0], far[-1], far[:, 0], far[:, -1]])
    assert rim[:, 1].min() > 0.3, "the wall's green must reach the frame"


@pytest.mark.browser
def test_soft_edges_mix_only_the_two_colours(still_visit: Visit) -> None:
    """Along a row through the disc's left edge no pixel is darker or brighter than both sides."""
    row = still_visit.shots["still"][200]
    card, disc = row[:, 2] > 0.45, row[:, 0] > 0.45
    edge = int(np.flatnonzero(disc)[0])
    assert card[edge - 4]
    rim = row[edge - 4 : edge + 5]
    low = np.minimum(rim[0], rim[-1]) - 0.06
    high = np.maximum(rim[0], rim[-1]) + 0.06
    assert (rim >= low).all()
    assert (rim <= high).all()


@pytest.mark.browser
def test_lost_graphics_context_comes_back(still_visit: Visit) -> None:
    shots = still_visit.shots
    np.testing.assert_array_equal(shots["context regained"], shots["far corner"])


@pytest.fixture(scope="module")
def moved_visit(browse: Callable[..., Visit]) -> Visit:
    """A page without sway, moved by every kind of input and brought back by "0" each time."""
    home = [["press", "0"], ["wait", GLIDE_MS]]
    tilt = "dispatchEvent(new DeviceOrientationEvent('deviceorientation', {beta: 40, gamma: %s}))"
    # From the middle to the limit takes 35 % of the shorter side: here half of that.
    half = 0.35 * HEIGHT / 2
    return browse(
        *OPEN,
        ["press", "0"],
        ["wait", 2500],
        ["screenshot", "before"],
        ["drag", 320, 180, 320 + half, 180],
        ["wait", GLIDE_MS],
        ["screenshot", "dragged"],
        *home,
        ["screenshot", "home"],
        *[["press", "ArrowDown"]] * 7,
        ["wait", GLIDE_MS],
        ["screenshot", "keys"],
        *home,
        ["wheel", -200],
        ["wait", GLIDE_MS],
        ["screenshot", "wheel"],
        *home,
        ["touch", [[300, 180], [340, 180]], [[294, 180], [346, 180]], [[288, 180], [352, 180]]],
        ["wait", GLIDE_MS],
        ["screenshot", "pinched"],
        *home,
        ["evaluate", tilt % 0],
        ["evaluate", tilt % 7],
        ["wait", GLIDE_MS],
        ["screenshot", "tilted"],
        ["press", "?"],
        ["evaluate", "document.getElementById('help').open"],
        ["press", "?"],
        ["evaluate", "document.getElementById('help').open"],
        reducedMotion=True,
    )


@pytest.mark.browser
def test_reduced_motion_stands_still(moved_visit: Visit) -> None:
    assert error(moved_visit.shots["before"], truth()) < 0.005


@pytest.mark.browser
def test_drag_moves_the_near_and_hardly_the_far(moved_visit: Visit) -> None:
    before, dragged = moved_visit.shots["before"], moved_visit.shots["dragged"]
    assert error(dragged, truth(x=-0.015)) < 0.01
    change = np.abs(dragged - before).max(-1)
    outlines = np.abs(truth(x=-0.015) - truth()).max(-1) > 0.2
    wall = np.s_[20:100, 520:620]
    assert outlines.sum() > 1000
    assert change[outlines].mean() > 0.2
    assert change[wall].mean() < 0.03


@pytest.mark.browser
def test_zero_goes_home(moved_visit: Visit) -> None:
    np.testing.assert_array_equal(moved_visit.shots["home"], moved_visit.shots["before"])


@pytest.mark.browser
@pytest.mark.parametrize(
    ("shot", "place"),
    [
        ("keys", {"y": 0.03}),
        ("wheel", {"z": 0.025}),
        ("pinched", {"z": 0.05}),
        ("tilted", {"x": 0.015}),
    ],
)
def test_other_input_moves_the_eye_where_it_should(
    moved_visit: Visit, shot: str, place: dict[str, float]
) -> None:
    assert error(moved_visit.shots[shot], truth()) > 0.012
    assert error(moved_visit.shots[shot], truth(**place)) < 0.01


@pytest.mark.browser
def test_question_mark_shows_and_hides_the_keys(moved_visit: Visit) -> None:
    assert moved_visit.results[-3::2] == [True, False]
    assert moved_visit.errors == []


@pytest.mark.browser
def test_left_alone_the_picture_sways(browse: Callable[..., Visit]) -> None:
    visit = browse(*OPEN, ["wait", 1500], ["screenshot", "a"], ["wait", 2500], ["screenshot", "b"])
    assert error(visit.shots["a"][:300], visit.shots["b"][:300]) > 0.01
    assert visit.errors == []


@pytest.mark.browser
def test_a_page_that_may_ask_offers_a_button(browse: Callable[..., Visit]) -> None:
    asking = """
        window.asked = 0;
        DeviceOrientationEvent.requestPermission = async () => (window.asked += 1, "granted");
        const real = matchMedia;
        window.matchMedia = (query) =>
            query === "(pointer: coarse)" ? { matches: true } : real.call(window, query);
    """
    visit = browse(
        ["init", asking],
        *OPEN,
        ["wait", 1300],
        ["click", "#tilt"],
        ["evaluate", "[window.asked, document.getElementById('tilt').hidden]"],
    )
    assert visit.results[-1] == [1, True]


@pytest.mark.browser
def test_upright_phone_shows_the_whole_photo_over_its_glow(browse: Callable[..., Visit]) -> None:
    visit = browse(*OPEN, ["screenshot", "phone"], anchor="#still", width=192)
    phone = visit.shots["phone"]
    top = (HEIGHT - 108) // 2
    small = Image.fromarray((truth() * 255).astype(np.uint8)).resize(
        (192, 108), Image.Resampling.BOX
    )
    assert error(phone[top : top + 108], np.asarray(small, np.float32) / 255) < 0.02
    for rim in (phone[:100], phone[-100:]):
        assert 0.06 < rim.mean() < 0.2, "dim, but not the bare page"


@pytest.mark.browser
def test_a_crack_shows_the_photo_and_not_the_page(
    browse: Callable[..., Visit], tmp_path: Path
) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    wall, *cards = scene.meshes
    x, y = (wall.uvs[wall.triangles] * [WIDTH, HEIGHT]).transpose(2, 0, 1)
    behind_disc = (scene.layers[2].rgba[..., 3] >= 1)[
        np.clip(y.astype(int), 0, HEIGHT - 1), np.clip(x.astype(int), 0, WIDTH - 1)
    ].all(1)
    cracked = replace(scene)
    cracked.__dict__["meshes"] = (replace(wall, triangles=wall.triangles[~behind_disc]), *cards)
    write_html(cracked, tmp_path / "cracked.html")
    visit = browse(
        *OPEN,
        ["evaluate", "diorama.setCamera(-0.03, 0, 0)"],
        ["wait", 100],
        ["screenshot", "crack"],
        page=tmp_path / "cracked.html",
        anchor="#still",
    )
    revealed = np.abs(visit.shots["crack"] - truth(x=-0.03)).max(-1) > 0.3
    assert revealed.sum() > 10, "the crack must be in sight for this test to mean anything"
    assert (visit.shots["crack"][revealed].max(-1) > 0.3).all()


@pytest.mark.browser
def test_without_webgl_the_photo_is_shown_flat(browse: Callable[..., Visit]) -> None:
    blind = "HTMLCanvasElement.prototype.getContext = () => null;"
    visit = browse(["init", blind], ["open"], ["wait", 500], ["screenshot", "flat"])
    assert error(visit.shots["flat"][:300], truth()[:300]) < 0.01


@pytest.mark.browser
def test_the_browser_agrees_with_the_renderer(still_visit: Visit) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    for shot, place in (("still", (0.0, 0.0, 0.0)), ("near corner", (0.03, 0.03, 0.05))):
        frame = scene.render(scene.camera.at(*place))
        assert error(still_visit.shots[shot], frame.rgb) < 0.02


EMBED_WIDTH, EMBED_HEIGHT = 320, 180

HEARD = """new Promise((done) => {
    const look = () => window.heard ? done(window.heard) : setTimeout(look, 50);
    look();
})"""


def host(
    folder: Path,
    *,
    above: int = 0,
    size: tuple[int, int] = (EMBED_WIDTH, EMBED_HEIGHT),
    anchor: str = "",
    attributes: str = "",
) -> dict[str, object]:
    """A long page with the cards in a frame, as `browse` takes it."""
    embed, page = folder / "cards.embed.html", folder / "host.html"
    if not embed.exists():
        write_embed(card_scene(WIDTH, HEIGHT), embed)
    page.write_text(f"""<!doctype html><title>host</title>
        <body style="margin: 0; background: #fff">
        <div style="height: {above}px"></div>
        <iframe src="{embed.name}{anchor}" width="{size[0]}" height="{size[1]}" {attributes}
            allow="gyroscope; accelerometer; fullscreen" loading="lazy"
            style="border: 0; display: block"></iframe>
        <div style="height: 3000px"></div>
        <script>addEventListener("message", (event) => (window.heard = event.data));</script>
    """)
    return {"page": page, "own": [embed.as_uri()]}


def framed(picture: Array, size: tuple[int, int] = (EMBED_WIDTH, EMBED_HEIGHT)) -> Array:
    """The part of a screenshot that shows the frame."""
    return picture[: size[1], : size[0]]


@functools.cache
def small_truth(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
    """What the cards look like in a frame of half their size."""
    picture = (truth(x, y, z) * 255).astype(np.uint8)
    small = Image.fromarray(picture).resize((EMBED_WIDTH, EMBED_HEIGHT), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


@pytest.fixture(scope="module")
def embed_visit(browse: Callable[..., Visit], tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """A page with the cards in a frame: looked at, scrolled over, dragged, then wheeled."""
    half = 0.35 * EMBED_HEIGHT / 2
    return browse(
        ["open"],
        ["evaluate", HEARD],  # 1
        ["inside", "document.body.innerText"],  # 2
        ["wait", 3000],
        ["screenshot", "embed"],
        ["wheel", 100, 160, 90],
        ["wait", 700],
        ["evaluate", "[scrollY, document.hasFocus()]"],  # 7
        ["evaluate", "scrollTo(0, 0)"],
        ["wait", 300],
        ["screenshot", "embed wheeled"],
        ["drag", 160, 90, 160 + half, 90],
        ["wait", GLIDE_MS],
        ["screenshot", "embed dragged"],
        ["wheel", -400, 160, 90],
        ["wait", GLIDE_MS],
        ["evaluate", "scrollY"],  # 16
        ["screenshot", "embed taken"],
        ["touch", *[[[160, 140 - 8 * step]] for step in range(12)]],
        ["wait", 500],
        ["evaluate", "scrollY"],  # 20
        ["evaluate", "scrollTo(0, 0)"],
        ["inside", "diorama.setCamera(0, 0, 0)"],
        ["touch", *[[[160 + 8 * step, 90]] for step in range(12)]],
        ["wait", GLIDE_MS],
        ["evaluate", "scrollY"],  # 25
        ["screenshot", "embed swiped"],
        reducedMotion=True,
        **host(tmp_path_factory.mktemp("embed"), attributes='sandbox="allow-scripts"'),
    )


@pytest.mark.browser
def test_an_embedded_scene_says_it_is_ready_and_nothing_else(embed_visit: Visit) -> None:
    ready = {"type": "diorama:ready", "name": "two cards", "width": WIDTH, "height": HEIGHT}
    assert embed_visit.results[1] == ready
    assert embed_visit.results[2].strip() == "", "no hint lies over it"
    assert embed_visit.requests == []
    assert embed_visit.errors == []
    assert error(framed(embed_visit.shots["embed"]), small_truth()) < 0.015


@pytest.mark.browser
def test_the_wheel_over_an_embedded_scene_scrolls_the_page_around(embed_visit: Visit) -> None:
    assert embed_visit.results[7][0] > 50
    shots = embed_visit.shots
    np.testing.assert_array_equal(framed(shots["embed wheeled"]), framed(shots["embed"]))


@pytest.mark.browser
def test_an_embedded_scene_turns_when_dragged(embed_visit: Visit) -> None:
    dragged = framed(embed_visit.shots["embed dragged"])
    assert error(dragged, small_truth(x=-0.015)) < 0.015
    assert error(dragged, small_truth()) > 0.02


@pytest.mark.browser
def test_once_clicked_an_embedded_scene_takes_the_wheel(embed_visit: Visit) -> None:
    assert embed_visit.results[16] == 0
    taken = framed(embed_visit.shots["embed taken"])
    assert error(taken, small_truth(x=-0.015, z=0.05)) < 0.02
    assert error(taken, small_truth(x=-0.015)) > 0.02


@pytest.mark.browser
def test_fingers_scroll_the_page_upwards_and_turn_the_scene_sideways(embed_visit: Visit) -> None:
    assert embed_visit.results[20] > 30
    assert embed_visit.results[25] == 0
    swiped = framed(embed_visit.shots["embed swiped"])
    assert error(swiped, small_truth(x=-0.03)) < 0.02 < error(swiped, small_truth())


@pytest.mark.browser
def test_an_embedded_scene_starts_when_it_is_seen_and_rests_when_not(
    browse: Callable[..., Visit], tmp_path: Path
) -> None:
    parts = "[!!document.getElementById('poster').complete, !!document.querySelector('canvas')]"
    count = """(() => {
        const real = requestAnimationFrame;
        window.frames_drawn = 0;
        window.requestAnimationFrame = (f) => real((t) => { window.frames_drawn += 1; f(t); });
    })()"""
    drawn = "window.frames_drawn"
    visit = browse(
        ["open"],
        ["wait", 700],
        ["inside", parts],  # 2
        ["evaluate", "scrollTo(0, 900)"],
        ["evaluate", HEARD],
        ["inside", parts],  # 5
        ["inside", count],
        ["wait", 2000],
        ["inside", drawn],  # 8
        ["evaluate", "scrollTo(0, 3000)"],
        ["wait", 400],
        ["inside", "window.frames_drawn = 0"],
        ["wait", 700],
        ["inside", drawn],  # 13
        ["evaluate", "scrollTo(0, 900)"],
        ["wait", 700],
        ["inside", drawn],  # 16
        **host(tmp_path, above=900),
    )
    assert visit.results[2] == [True, False]
    assert visit.results[5] == [True, True]
    assert visit.results[8] > 10, "it sways while it is seen"
    assert visit.results[13] == 0
    assert visit.results[16] > 3
    assert visit.errors == []


@pytest.mark.browser
@pytest.mark.parametrize("lost", ["scripts", "WebGL"])
def test_without_scripts_or_webgl_the_poster_stays(
    browse: Callable[..., Visit], tmp_path: Path, lost: str
) -> None:
    blind = "HTMLCanvasElement.prototype.getContext = () => null;"
    steps = [["open"], ["wait", 900], ["screenshot", f"no {lost}"]]
    visit = browse(
        *([["init", blind]] if lost == "WebGL" else []),
        *steps,
        scripts=lost != "scripts",
        **host(tmp_path),
    )
    assert error(framed(visit.shots[f"no {lost}"]), small_truth()) < 0.015
    # three.js says in the console what it did not get; nothing is thrown.
    assert [line for line in visit.errors if "THREE.WebGLRenderer" not in line] == []


@pytest.mark.browser
@pytest.mark.parametrize("size", [(120, 300), (600, 100)])
def test_an_embedded_scene_fills_a_frame_of_any_shape_as_its_poster_did(
    browse: Callable[..., Visit], tmp_path: Path, size: tuple[int, int]
) -> None:
    poster = browse(
        ["open"],
        ["wait", 300],
        ["screenshot", f"poster {size}"],
        scripts=False,
        **host(tmp_path, size=size),
    ).shots[f"poster {size}"]
    visit = browse(
        ["open"],
        ["evaluate", HEARD],
        ["wait", 300],
        ["screenshot", f"scene {size}"],
        **host(tmp_path, size=size, anchor="#still"),
    )
    scene = visit.shots[f"scene {size}"]
    assert error(framed(scene, size), framed(poster, size)) < 0.02
    scale = max(size[0] / WIDTH, size[1] / HEIGHT)
    whole = Image.fromarray((truth() * 255).astype(np.uint8))
    whole = whole.resize((round(WIDTH * scale), round(HEIGHT * scale)), Image.Resampling.BOX)
    left, top = (whole.width - size[0]) // 2, (whole.height - size[1]) // 2
    want = np.asarray(whole, np.float32)[top : top + size[1], left : left + size[0]] / 255
    assert error(framed(scene, size), want) < 0.03


@pytest.mark.browser
def test_while_its_graphics_are_lost_an_embedded_scene_shows_its_poster(
    browse: Callable[..., Visit], tmp_path: Path
) -> None:
    lose = "document.querySelector('canvas').getContext('webgl2')"
    lose = f"(window.loss = {lose}.getExtension('WEBGL_lose_context')).loseContext()"
    visit = browse(
        ["open"],
        ["evaluate", HEARD],
        ["inside", lose],
        ["wait", 800],
        ["screenshot", "embed lost"],
        ["inside", "loss.restoreContext()"],
        ["wait", 500],
        ["screenshot", "embed regained"],
        ["inside", "document.getElementById('stage').className"],
        **host(tmp_path, anchor="#still"),
    )
    for shot in ("embed lost", "embed regained"):
        assert error(framed(visit.shots[shot]), small_truth()) < 0.015
    assert "ready" in visit.results[-1]


@pytest.mark.browser
def test_f_fills_the_screen_and_comes_back(browse: Callable[..., Visit]) -> None:
    full = "!!document.fullscreenElement"
    visit = browse(
        *OPEN,
        ["press", "f"],
        ["wait", 500],
        ["evaluate", full],
        ["press", "f"],
        ["wait", 500],
        ["evaluate", full],
        anchor="#still",
    )
    assert [visit.results[4], visit.results[7]] == [True, False]
    assert visit.errors == []


@pytest.mark.browser
def test_a_cut_out_has_nothing_behind_it(browse: Callable[..., Visit], tmp_path: Path) -> None:
    scene = cut_out_scene(WIDTH, HEIGHT)
    write_html(scene, tmp_path / "cut-out.html")
    seen = browse(
        *OPEN,
        ["evaluate", "diorama.setCamera(0.03, 0, 0)"],
        ["wait", 100],
        ["screenshot", "aside"],
        page=tmp_path / "cut-out.html",
        anchor="#still",
    )
    assert seen.errors == []
    frame = scene.render(scene.camera.at(x=0.03))
    clear = frame.alpha == 0
    # The dim glow of the page, and no second picture of the cards.
    assert seen.shots["aside"][clear].max() < 0.4
    opaque = frame.alpha > 0.99
    assert np.abs(seen.shots["aside"] - frame.rgb)[opaque].mean() < 0.02


@pytest.mark.browser
def test_the_page_around_shines_through_a_cut_out(
    browse: Callable[..., Visit], tmp_path: Path
) -> None:
    scene = cut_out_scene(WIDTH, HEIGHT)
    write_embed(scene, tmp_path / "a.embed.html")
    (tmp_path / "host.html").write_text(
        "<body style='margin:0;background:#f0f'><iframe src='a.embed.html' "
        f"style='border:0;display:block;width:{WIDTH}px;height:{HEIGHT}px'></iframe>"
    )
    seen = browse(
        ["open"],
        ["inside", "diorama.ready"],
        ["wait", 500],
        ["screenshot", "through"],
        page=tmp_path / "host.html",
        own=[(tmp_path / "a.embed.html").as_uri()],
    )
    frame = scene.render(scene.camera)
    far_outside = np.zeros(frame.alpha.shape, bool)
    far_outside[:8] = far_outside[-8:] = True
    far_outside &= frame.alpha == 0
    assert far_outside.any()
    assert np.abs(seen.shots["through"][far_outside] - (1, 0, 1)).max() < 0.02
