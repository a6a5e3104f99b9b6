"""Takes the pictures of `docs/pictures/` from finished runs: the first screen in both languages, one finding of each family, and
the first printed page. Needs Chromium, Playwright, and pypdfium2 for the printed page.

    PLUMBLINE_DATA=... plumbline run examples/hatecheck.yaml --out RUN
    PLUMBLINE_DATA=... plumbline run examples/private-hate.yaml --out PRIVATE
    python docs/take_pictures.py RUN PRIVATE
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).parent / "pictures"
FAMILIES = ("performance", "fairness", "explanation", "robustness", "data", "privacy")


def main(runs: list[Path]) -> None:
    OUT.mkdir(exist_ok=True)
    chromium = os.environ.get("PLUMBLINE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto((runs[0] / "report.html").resolve().as_uri())
        page.screenshot(path=OUT / "first-screen.png")
        printed(page)
        page.goto((runs[0] / "report.zh_CN.html").resolve().as_uri())
        page.screenshot(path=OUT / "first-screen-zh_CN.png")
        missing = [f for f in FAMILIES if not any(family(page, run, f) for run in runs)]
        browser.close()
    if missing:
        sys.exit(f"no finding of: {', '.join(missing)}")


def printed(page: Page) -> None:
    """The first sheet, as the browser prints it."""
    import pypdfium2

    pdf = pypdfium2.PdfDocument(page.pdf(format="A4", print_background=True))
    pdf[0].render(scale=1.3).to_pil().save(OUT / "printed.png", optimize=True)


def family(page: Page, run: Path, name: str) -> bool:
    """The first finding of a family: what it asks, what it found, and its first picture or table."""
    page.goto((run / "report.html").resolve().as_uri())
    found = page.locator(f"#f-{name} article.probe")
    if not found.count():
        return False
    best = next((found.nth(i) for i in range(found.count()) if found.nth(i).locator("svg, .tokens").count()), found.first)
    best.evaluate("e => e.scrollIntoView({block: 'start', behavior: 'instant'})")
    box = best.bounding_box()
    page.screenshot(
        path=OUT / f"{name}.png",
        clip={"x": box["x"], "y": box["y"], "width": min(box["width"], 920), "height": min(box["height"], 780 - box["y"])},
        full_page=False,
    )
    return True


if __name__ == "__main__":
    main([Path(a) for a in sys.argv[1:]])
