#!/usr/bin/env python3
"""Makes pictures of a report for a README: its top as report.png, and its main plots as SVG.

  bazel run //experiments:report -- --results=results/digits
  python3 tools/report_pictures.py results/digits/report.html docs/images

It needs Chromium (apt-get install chromium) and fetches nothing.
"""

import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from report_pictures_chromium import Chromium  # noqa: E402

PLOTS = ["accuracy", "tradeoff", "live"]  # and every forest plot


def main():
    if len(sys.argv) != 3 or not os.path.isfile(sys.argv[1]):
        sys.exit("usage: report_pictures.py REPORT.html FOLDER; the report is made by //experiments:report")
    folder = pathlib.Path(sys.argv[2]).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with Chromium() as browser:
        url = pathlib.Path(sys.argv[1]).resolve().as_uri()
        page = browser.open(url, width=1000, height=800, ready="document.body && document.body.dataset.ready == '1'")
        # The name of the results folder means nothing in a picture.
        page.value("document.querySelector('.folders').remove()")
        end = page.value("document.querySelector('#verdicts').getBoundingClientRect().bottom + window.scrollY")
        (folder / "report.png").write_bytes(page.screenshot(clip=(0, 0, 1000, end + 12)))
        forests = page.value("Array.from(document.querySelectorAll('.forest')).map((e) => e.id)")
        for plot in PLOTS + forests:
            # A white background, because a README may be shown on black.
            svg = page.value(
                f"Plotly.relayout('{plot}', {{paper_bgcolor: '#fff'}}).then(() => Plotly.toImage('{plot}',"
                " {format: 'svg', width: 760, height: 420})).then((url) => decodeURIComponent(url.split(',')[1]))"
            )
            (folder / f"{plot.replace('forest-', 'forest_')}.svg").write_text(svg)
        assert not page.messages(), page.messages()
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
