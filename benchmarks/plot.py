"""A plot as SVG text, without a library: rates or sizes on log-log axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

WIDTH, HEIGHT = 480, 345
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 101
COLOURS = ("#0b62a4", "#6baed6", "#d95f0e", "#8c510a", "#7a7a7a", "#bdbdbd")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Curve:
    """Points (x, rows per second or bytes) under one name; a ``dashed`` one is a peer's."""

    name: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves over one axis; ``unit`` is that of the other."""

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    unit: str = "/s"


def svg(panels: Sequence[Panel]) -> str:
    """Return an SVG document of ``panels`` side by side; each needs at least one point."""
    width = WIDTH * len(panels)
    size = f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
    ]
    for position, panel in enumerate(panels):
        parts.append(f'<g transform="translate({WIDTH * position} 0)">')
        parts += _panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    points = [point for curve in panel.curves for point in curve.points]
    x_axis = _decades([x for x, _ in points])
    y_axis = _decades([y for _, y in points])
    x_at = _scale(x_axis, LEFT, WIDTH - RIGHT)
    y_at = _scale(y_axis, HEIGHT - BOTTOM, TOP)
    parts = [_text(WIDTH / 2, 18, panel.title, "middle", bold=True)]
    parts.append(_text(WIDTH / 2, HEIGHT - BOTTOM + 32, panel.x_label, "middle"))
    for power in range(x_axis[0], x_axis[1] + 1):
        x = x_at(10.0**power)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM))
        label = f"10{str(power).translate(_SUPERSCRIPTS)}" if power else "1"
        parts.append(_text(x, HEIGHT - BOTTOM + 15, label, "middle"))
    for power in range(y_axis[0], y_axis[1] + 1):
        y = y_at(10.0**power)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(LEFT - 6, y + 4, _value(power, panel.unit), "end"))
    for number, curve in enumerate(panel.curves):
        parts += _curve(curve, COLOURS[number % len(COLOURS)], x_at, y_at)
        parts += _legend(curve, COLOURS[number % len(COLOURS)], number)
    return parts


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around ``values``, at least one decade."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)


def _scale(axis: tuple[int, int], start: float, end: float) -> Callable[[float], float]:
    low, high = axis
    return lambda value: start + (log10(value) - low) / (high - low) * (end - start)


def _value(power: int, unit: str) -> str:
    prefix = {0: "", 1: "k", 2: "M", 3: "G"}[power // 3]
    return f"{10 ** (power % 3)} {prefix}{unit}"


def _curve(
    curve: Curve, colour: str, x_at: Callable[[float], float], y_at: Callable[[float], float]
) -> list[str]:
    places = [(x_at(x), y_at(y)) for x, y in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="5 3"' if curve.dashed else ""
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return [line, *dots]


def _legend(curve: Curve, colour: str, number: int) -> list[str]:
    x = LEFT + 200 * (number % 2)
    y = HEIGHT - 45 + 15 * (number // 2)
    return [
        f'<rect x="{x}" y="{y - 8}" width="12" height="8" fill="{colour}"/>',
        _text(x + 17, y, curve.name, "start"),
    ]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#e4e4e4"/>'


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{text}</text>'
