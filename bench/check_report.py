#!/usr/bin/env python3
"""Looks for text that is clipped or overlaps in report pages, as a real browser lays them out.

    python3 bench/check_report.py RUN/report.html ... [--chromium PATH] [--pictures DIR]

Needs `pip install playwright` and a Chromium (`playwright install chromium`, or one of the system's by --chromium). Every
page is opened at 1280 and at 400 pixels, in light and in dark. Prints what is wrong, and exits with 1 if anything is.
"""

import argparse
import pathlib
import sys

from playwright.sync_api import sync_playwright

FIND = """() => {
  const found = [], wide = document.documentElement.scrollWidth;
  if (wide > window.innerWidth) found.push(`the page is ${wide} wide, the window ${window.innerWidth}`);
  for (const weight of [400, 600])
    if (!document.fonts.check(`${weight} 12px Inter`)) found.push(`no embedded font of weight ${weight}`);
  const scrolls = element => element.closest('.scroll, pre');
  for (const element of document.querySelectorAll('main *:not(svg *)'))
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && !scrolls(element) &&
        getComputedStyle(element).display !== 'inline')
      found.push(`${element.tagName} ${element.className}: ${element.scrollWidth} in ${element.clientWidth}`);
  for (const drawing of document.querySelectorAll('svg')) {
    const label = drawing.getAttribute('aria-label'), frame = drawing.getBoundingClientRect();
    const texts = [...drawing.querySelectorAll('text')].map(text => {
      const box = text.getBoundingClientRect(), slack = 0.18 * box.height;
      return { says: text.textContent, left: box.left, right: box.right, top: box.top + slack, bottom: box.bottom - slack };
    });
    texts.forEach((a, at) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
        found.push(`${label}: "${a.says}" leaves the panel`);
      for (const b of texts.slice(at + 1))
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
          found.push(`${label}: "${a.says}" over "${b.says}"`);
    });
    if ([...drawing.querySelectorAll('text')].some(text => getComputedStyle(text).stroke !== 'none'))
      found.push(`${label}: text is outlined`);
    const size = Math.min(...[...drawing.querySelectorAll('text')].map(text => text.getBoundingClientRect().height));
    if (size < 10) found.push(`${label}: text only ${size.toFixed(1)} pixels high`);
  }
  return found;
}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    parser.add_argument("--chromium", help="a Chromium to use instead of playwright's own")
    parser.add_argument("--pictures", type=pathlib.Path, help="folder for a screenshot of every view")
    arguments = parser.parse_args()
    wrong = views = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium)
        for page_path in arguments.pages:
            for width in (1280, 400):
                for scheme in ("light", "dark"):
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                    fetched = []
                    page.on("request", lambda request: fetched.append(request.url))
                    page.goto(page_path.resolve().as_uri())
                    page.evaluate("document.fonts.ready")
                    found = page.evaluate(FIND)
                    found += [f"fetches {url}" for url in fetched[1:] if not url.startswith("data:")]
                    for problem in found:
                        print(f"{page_path}, {width} pixels, {scheme}: {problem}")
                    wrong += len(found)
                    views += 1
                    if arguments.pictures:
                        arguments.pictures.mkdir(parents=True, exist_ok=True)
                        name = f"{page_path.resolve().parent.name}-{page_path.stem}-{width}-{scheme}.png"
                        page.screenshot(path=arguments.pictures / name, full_page=True)
                    page.close()
        browser.close()
    print(f"{views} views, {wrong} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
