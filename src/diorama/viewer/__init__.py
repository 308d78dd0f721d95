"""The viewer: one page that shows a scene, built from `web/` and packaged whole."""

from importlib import resources


def viewer_html() -> str:
    """The page without a scene in it; `diorama.export.html` fills it."""
    return resources.files(__name__).joinpath("viewer.html").read_text("utf-8")
