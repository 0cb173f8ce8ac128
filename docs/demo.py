"""Makes docs/demo.svg, a picture of what `demo` prints:

    batch-retry-proxy demo | python3 docs/demo.py > docs/demo.svg

The text stays text, to be selected and searched, and the colours follow the reader's light or dark.
"""

import html
import sys

COLUMN, LINE, MARGIN = 7.83, 18, 16


def style(line):
    if line.startswith("$ "):
        return "dim"
    if line.startswith("What "):
        return "bold"
    return {"Passed": "good", "Not passed": "bad"}.get(line.split(":")[0], "")


def picture(lines):
    width = round(max(map(len, lines)) * COLUMN) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    yield "<title>What batch-retry-proxy demo prints</title>"
    yield """<style>
rect { fill: #f6f8fa; stroke: #d0d7de }
text { fill: #1f2328; font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; white-space: pre }
.dim { fill: #59636e } .bold { font-weight: bold } .good { fill: #116329 } .bad { fill: #a40e26 }
@media (prefers-color-scheme: dark) {
rect { fill: #151b23; stroke: #3d444d }
text { fill: #d1d7e0 }
.dim { fill: #9198a1 } .good { fill: #56d364 } .bad { fill: #ff7b72 }
}
</style>"""
    yield f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="6"/>'
    for number, line in enumerate(lines):
        if line:
            kind = f' class="{style(line)}"' if style(line) else ""
            y = MARGIN + number * LINE + 13
            yield f'<text{kind} x="{MARGIN}" y="{y}" xml:space="preserve">{html.escape(line, quote=False)}</text>'
    yield "</svg>"


if __name__ == "__main__":
    print("\n".join(picture(["$ batch-retry-proxy demo", "", *sys.stdin.read().rstrip("\n").split("\n")])))
