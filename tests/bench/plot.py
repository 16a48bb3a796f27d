"""Line charts as SVG, to be read on light and on dark pages.

    lines(path, "Title", [Series("nginx", [(1, 9.1), (8, 30.2)], peer=True), ...],
          x="connections", y="requests per second", y_log=False)

x is on a logarithmic axis with a mark at each value that was measured.  A peer is
dashed.  The same series in the same order give the same bytes.
"""
import dataclasses
import math
import pathlib
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 72, 190, 46, 52
# Colours that people with any kind of sight tell apart (Okabe and Ito), and lighter
# ones for a dark page.  The card has a background of its own: a page that is dark
# while the reader's system is light, or the other way round, changes nothing.
COLOURS = (("#0072b2", "#5cb3ea"), ("#d55e00", "#ff9248"), ("#00845f", "#3ccfa4"),
           ("#a3438f", "#e39bd2"), ("#6b5d00", "#d9c94a"), ("#555555", "#b5b5b5"),
           ("#b00020", "#ff8a95"))
MARKS = ("circle", "square", "diamond", "triangle")


@dataclasses.dataclass
class Series:
    name: str
    points: list  # of (x, y), by x
    peer: bool = False
    colour: int = None  # of COLOURS; by the order where None


# --- axes --------------------------------------------------------------------------

def steps(top):
    """Round marks from 0 up to at least top, four to six of them."""
    top = max(top, 1e-6)
    unit = 10.0 ** math.floor(math.log10(top / 4))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit * 5 >= top)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def decades(low, high):
    """Powers of ten, with their double and fivefold where that is not too many, so
    that low and high lie within."""
    for firsts in ((1, 2, 5), (1,)):
        marks = [m * 10.0 ** e for e in range(-6, 10) for m in firsts]
        first = max((m for m in marks if m <= low * (1 + 1e-9)), default=marks[0])
        last = min((m for m in marks if m >= high * (1 - 1e-9)), default=marks[-1])
        last = max(last, first * 10)
        found = [m for m in marks if first <= m <= last]
        if len(found) <= 8:
            return found
    return found


def short(v):
    if v >= 1_000_000:
        return f"{v / 1_000_000:g} M"
    if v >= 1000:
        return f"{v / 1000:g} k"
    return f"{v:g}"


class Axis:
    """Places of values between two ends, in pixels."""

    def __init__(self, marks, start, end, log):
        self.marks, self.start, self.end, self.log = marks, start, end, log
        self.low, self.high = self._at(marks[0]), self._at(marks[-1])

    def _at(self, v):
        return math.log(v) if self.log else v

    def place(self, v):
        span = (self.high - self.low) or 1
        return self.start + (self._at(v) - self.low) / span * (self.end - self.start)


# --- drawing -----------------------------------------------------------------------

def style():
    light = ["rect.card{fill:#ffffff;stroke:#d0d7de}", "text{fill:#1f2328}",
             ".grid{stroke:#e3e6ea}", ".axis{stroke:#8c959f}"]
    dark = ["rect.card{fill:#0d1117;stroke:#3d444d}", "text{fill:#e6edf3}",
            ".grid{stroke:#262c34}", ".axis{stroke:#7d8590}"]
    for i, (on_light, on_dark) in enumerate(COLOURS):
        for rules, colour in ((light, on_light), (dark, on_dark)):
            rules += [f".l{i}{{stroke:{colour}}}", f".m{i},text.t{i}{{fill:{colour}}}"]
    fixed = ("text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif}"
             "text.title{font-size:16px;font-weight:600}"
             ".line{fill:none;stroke-width:2.2;stroke-linejoin:round}"
             ".peer{stroke-dasharray:7 4}.grid,.axis{stroke-width:1}")
    return (f"<style>{fixed}{''.join(light)}"
            f"@media (prefers-color-scheme:dark){{{''.join(dark)}}}</style>")


def text(x, y, words, anchor="start", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
            f"{escape(words)}</text>")


def mark(kind, colour, x, y):
    c = f'class="m{colour}"'
    if kind == "circle":
        return f'<circle {c} cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if kind == "square":
        return f'<rect {c} x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"/>'
    corners = ((0, -5), (5, 0), (0, 5), (-5, 0)) if kind == "diamond" else \
        ((0, -5), (4.8, 3.8), (-4.8, 3.8))
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon {c} points="{points}"/>'


def labels(series, y_axis):
    """Where the name of each stands beside its last point: apart from each other."""
    places = sorted((y_axis.place(s.points[-1][1]), i) for i, s in enumerate(series))
    out, last = {}, TOP - 20.0
    for y, i in places:
        last = out[i] = max(y, last + 16)
    over = last - (HEIGHT - BOTTOM + 4)
    floor = HEIGHT - BOTTOM + 4.0
    if over > 0:  # pushed beyond the end: back up from below
        for _, i in reversed(places):
            floor = out[i] = min(out[i], floor)
            floor -= 16
    return out


def frame(x_axis, y_axis, title, x, y):
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" '
           f'height="{HEIGHT - 1}" rx="8"/>',
           text(16, 27, title, more=' class="title"')]
    for v in y_axis.marks:
        at = y_axis.place(v)
        out.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        out.append(text(LEFT - 8, at + 4, short(v), "end"))
    for v in x_axis.marks:
        at = x_axis.place(v)
        out.append(f'<line class="axis" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" '
                   f'y2="{bottom + 5}"/>')
        out.append(text(at, bottom + 20, short(v), "middle"))
    out.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    out.append(text((LEFT + right) / 2, HEIGHT - 12, x, "middle"))
    middle = (TOP + bottom) / 2
    out.append(text(18, middle, y, "middle", f' transform="rotate(-90 18 {middle:.1f})"'))
    return out


def draw(title, series, x, y, y_log):
    """The text of the SVG; each series has a point."""
    xs = sorted({p[0] for s in series for p in s.points})
    ys = [p[1] for s in series for p in s.points]
    x_axis = Axis(xs, LEFT + 12, WIDTH - RIGHT - 12, True)
    y_axis = Axis(decades(min(ys), max(ys)) if y_log else steps(max(ys)),
                  HEIGHT - BOTTOM, TOP, y_log)
    out = frame(x_axis, y_axis, title, x, y)
    beside = labels(series, y_axis)
    for i, s in enumerate(series):
        colour = (i if s.colour is None else s.colour) % len(COLOURS)
        kind = MARKS[colour % len(MARKS)]
        at = [(x_axis.place(px), y_axis.place(py)) for px, py in s.points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
        out.append(f'<polyline class="line l{colour}{" peer" if s.peer else ""}" '
                   f'points="{path}"/>')
        out += [mark(kind, colour, px, py) for px, py in at]
        out.append(mark(kind, colour, WIDTH - RIGHT + 16, beside[i]))
        out.append(text(WIDTH - RIGHT + 26, beside[i] + 4.5, s.name,
                        more=f' class="t{colour}"'))
    body = "\n".join(out)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">\n'
            f"{style()}\n{body}\n</svg>\n")


def lines(path, title, series, x="connections", y="requests per second", y_log=False):
    """Writes the chart, and nothing where no series has a point: False. A point is left
    out where y is None, or where a logarithm has no place for it."""
    drawable = (lambda v: v is not None and v > 0) if y_log else lambda v: v is not None
    series = [dataclasses.replace(s, points=[p for p in s.points if drawable(p[1])])
              for s in series]
    series = [s for s in series if s.points]
    if not series:
        return False
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(title, series, x, y, y_log))
    return True
