"""Opens a report in headless Chromium at the width of a phone and of a desktop: every picture loads, nothing is wider
than the window, no error, no request to anywhere.  check_page.py REPORT.html [SCREENSHOT.png]"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROBE = """<script>
const errors = []; addEventListener("error", e => errors.push(String(e.message || e.target)), true);
addEventListener("load", () => { const images = [...document.images];
  const result = { images: images.length, loaded: images.filter(i => i.naturalWidth > 0).length,
    charts: document.querySelectorAll("svg path.curve, svg rect").length, errors: errors,
    overflow: document.documentElement.scrollWidth - innerWidth, tables: document.querySelectorAll("table").length,
    requests: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:")) };
  result.links = [...document.querySelectorAll("nav a")].filter(a => document.querySelector(a.getAttribute("href"))).length;
  result.wide = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length;
  const errorOf = figure => Number((figure.textContent.match(/nMSE ([0-9.e+-]+)/) || [0, 0])[1]);
  const worst = [...document.querySelectorAll(".pictures")].map(p => Math.max(...[...p.querySelectorAll("figure")].map(errorOf)));
  result.ordered = worst.every((value, i) => i === 0 || value <= worst[i - 1]);
  const text = "RESULT" + JSON.stringify(result) + "END";
  if (parent === window) document.title = text; else parent.postMessage(text, "*"); });
</script></head>"""


def browse(page, width, *arguments):
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   f"--user-data-dir={profile}", f"--window-size={width},1600", "--virtual-time-budget=5000",
                   *arguments, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def framed(page, width):
    """Headless Chromium takes no window below 500 pixels; a frame may be narrower."""
    frame = page.with_name("frame.html")
    frame.write_text(f'<!DOCTYPE html><iframe src="{page.name}" style="width:{width}px;height:1500px;border:0"></iframe>'
                     '<script>onmessage = (event) => { document.title = event.data; };</script>')
    return frame


def check(page, width):
    dom = browse(framed(page, width), max(width, 500) + 20, "--dump-dom")
    found = re.search("RESULT(.*?)END", dom)
    if not found:
        sys.exit("the page did not load")
    result = json.loads(found[1].replace("&amp;", "&"))
    good = (result["images"] >= 3 and result["loaded"] == result["images"] and not result["errors"]
            and result["overflow"] <= 0 and not result["requests"] and result["charts"] >= 4 and result["tables"] == 2 and result["wide"] == 0
            and result["links"] >= 3 and result["ordered"])
    print(width, result)
    if not good:
        sys.exit(f"at {width} pixels: {result}")


def main():
    if not shutil.which("chromium"):
        print("skipped: no chromium")
        sys.exit(77)
    report = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "probed.html"
        page.write_text(report.read_text().replace("</head>", PROBE, 1))
        for width in (390, 1280):
            check(page, width)
    if len(sys.argv) > 2:
        browse(report.resolve(), 1280, "--hide-scrollbars", f"--screenshot={sys.argv[2]}")


if __name__ == "__main__":
    main()
