# SPDX-License-Identifier: Apache-2.0
"""Draws curves and bars as SVG: text in, text out. Colours change with the reader's scheme (light or dark), the
background stays the page's. The line of Skerry is thick; each line is named at its end, in its colour, so no legend is
needed."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 44, 50
LINE_APART = 14  # of names at the ends of lines

# By place: Skerry, the limit, then the others. Each pair is told apart on white and on near-black.
LIGHT = ("#1257c4", "#555555", "#b3470e", "#1a7a3c", "#8a2f9e", "#a3195b", "#0b7285", "#6b5b00", "#8b0000")
DARK = ("#7db0ff", "#bbbbbb", "#ff9d5c", "#6fd08c", "#d79bea", "#ff8fc0", "#66d9e8", "#e0cf60", "#ff8a80")


def style():
    def rules(ink, faint, colours):
        return (f".ink{{fill:{ink}}}.faint{{stroke:{faint};stroke-width:1}}" +
                "".join(f".c{i}{{fill:{c}}}.s{i}{{stroke:{c};fill:none}}" for i, c in enumerate(colours)))
    return ("<style>text{font:12px system-ui,sans-serif}.title{font-size:15px;font-weight:600}.right{text-anchor:end}"
            f".middle{{text-anchor:middle}}{rules('#1c1c1c', '#d8d8d8', LIGHT)}"
            f"@media(prefers-color-scheme:dark){{{rules('#eeeeee', '#444444', DARK)}}}</style>")


def number(value):
    """Three digits, and k and M for thousands and millions."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def text(x, y, said, classes="ink"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}">{escape(said)}</text>'


def document(title, body, height=HEIGHT):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img"><title>{escape(title)}</title>{style()}{text(LEFT, 24, title, "ink title")}'
            + "".join(body) + "</svg>\n")


def one_two_five(value, up):
    """The next 1, 2 or 5 times a power of ten, not below (up) or not above the value."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [factor * power for factor in (1, 2, 5, 10)]
    if up:
        return min(step for step in steps if step >= value * 0.9999)
    return max(step for step in steps if step <= value * 1.0001)


class Axis:
    """From values to pixels. Logarithmic when the values span more than a factor of 20 and none is 0. exact: it begins
    and ends with the values, as an axis does whose points carry the numbers."""

    def __init__(self, values, start, end, from_zero=False, exact=False):
        low, high = min(values), max(values)
        self.log = low > 0 and high / low > 20
        if self.log:
            self.low, self.high = (low, high) if exact else (one_two_five(low, False), one_two_five(high, True))
        else:
            self.low = 0 if from_zero or low <= high / 5 else low
            self.high = high if high > self.low else self.low + 1
        self.start, self.end = start, end

    def at(self, value):
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self):
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            decades = [10.0 ** power for power in range(first, last + 1)]
            return decades if len(decades) > 2 else sorted({self.low, *decades, self.high})
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step = next(step * factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def spread_apart(wanted, apart=LINE_APART):
    """{key: y} moved down as little as needed for neighbours to be `apart`."""
    placed, last = {}, -math.inf
    for key, y in sorted(wanted.items(), key=lambda item: item[1]):
        last = placed[key] = max(y, last + apart)
    return placed


def order(names, limit):
    """Skerry first, then the limit: a colour stays with its place."""
    return sorted(names, key=lambda name: (name != "skerry", name != limit))


def shown(name):
    return "Skerry" if name == "skerry" else name


def curve(record):
    """A line per contestant. record: what growth.measure returns."""
    points, limit = record["points"], record.get("limit", "")
    lines = {name: [(x, y) for x, y in zip(points, values) if y is not None]
             for name, values in record["series"].items()}
    lines = {name: lines[name] for name in order(lines, limit) if lines[name]}
    if not lines:
        return document(record["title"], [text(LEFT, HEIGHT / 2, "nothing was measured")])
    x = Axis(points, LEFT, WIDTH - RIGHT, exact=True)
    y = Axis([value for line in lines.values() for _, value in line], HEIGHT - BOTTOM, TOP + 10, from_zero=True)
    body = [f'<line class="faint" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}"/>' +
            text(LEFT - 8, y.at(tick) + 4, number(tick), "ink right") for tick in y.ticks()]
    marks = points if len(points) <= 8 else x.ticks()
    body += [text(x.at(tick), HEIGHT - BOTTOM + 18, number(tick), "ink middle") for tick in marks]
    body += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, record["x"], "ink middle"),
             text(LEFT, TOP, record["unit"])]
    ends = spread_apart({name: y.at(line[-1][1]) for name, line in lines.items()})
    for place, (name, line) in enumerate(lines.items()):
        colour, thick = place % len(LIGHT), 3 if name == "skerry" else 1.5
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in line)
        body.append(f'<polyline class="s{colour}" stroke-width="{thick}" points="{path}"/>')
        body += [f'<circle class="c{colour}" cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="{thick}"/>' for a, b in line]
        body.append(text(x.at(line[-1][0]) + 8, ends[name] + 4, shown(name), f"c{colour}"))
    return document(record["title"], body)


def bars(record):
    """A bar per contestant of a row, the number at its end. record: an entry of `rows` in the results."""
    values = {"skerry": record["skerry"]}
    if record["limit"] is not None:
        values[record["limit_name"]] = record["limit"]
    values.update({name: peer["value"] for name, peer in record["peers"].items()})
    values = {name: value for name, value in values.items() if value is not None}
    title = f"{record['what']}, {record['unit']}"
    end = WIDTH - RIGHT
    scale = Axis([0, *values.values()], LEFT + 60, end)
    body = []
    for place, (name, value) in enumerate(values.items()):
        top, colour = TOP + place * 24, place % len(LIGHT)
        body.append(text(LEFT + 52, top + 13, shown(name), "ink right"))
        body.append(f'<rect class="c{colour}" x="{LEFT + 60}" y="{top}" height="16" '
                    f'width="{max(1.0, scale.at(value) - LEFT - 60):.1f}"/>')
        body.append(text(scale.at(value) + 6, top + 13, number(value)))
    return document(title, body, TOP + 24 * len(values) + 12)
