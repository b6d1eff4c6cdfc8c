"""Curves over time, as a picture that a browser draws."""

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 120, 70, 34, 40
COLOURS = ["#1f5fa8", "#b8432f", "#3a7d44"]


def thinned(points, most=400):
    """At most so many of them, each the median of those that it stands for."""
    size = -(-len(points) // most)
    groups = [points[at:at + size] for at in range(0, len(points), size)]
    return [(group[len(group) // 2][0], sorted(value for _, value in group)[len(group) // 2]) for group in groups]


def draw(path, title, panels, marks=()):
    """Write it to `path'.  A panel is a name and, by label, points of minutes and values, one of several curves; at
    the minutes `marks' there are lines."""
    end = max((x for _, curves in panels for points in curves.values() for x, _ in points), default=1) or 1
    across = lambda x: LEFT + x / end * (WIDTH - LEFT - 20)
    whole = TOP + len(panels) * (HEIGHT + GAP)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">'
           % (WIDTH, whole), '<rect width="100%" height="100%" fill="white"/>', '<text x="%d" y="18">%s</text>' % (LEFT, title)]
    for number, (name, curves) in enumerate(panels):
        top = TOP + number * (HEIGHT + GAP)
        # From nothing, so that a slope looks like what it is.
        most = max((value for points in curves.values() for _, value in points), default=1) * 1.1 or 1
        out.append('<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#999"/>'
                   % (LEFT, top + 10, WIDTH - LEFT - 20, HEIGHT))
        for part in range(5):
            at = top + 10 + HEIGHT - part / 5 * HEIGHT
            out.append('<text x="%d" y="%.0f" text-anchor="end" fill="#555">%.3g</text>' % (LEFT - 6, at + 4, most * part / 5))
        for mark in marks:
            out.append('<path d="M%.1f %dv%d" stroke="#ccc" stroke-dasharray="3 3"/>' % (across(mark), top + 10, HEIGHT))
        out.append('<text x="%d" y="%d">%s</text>' % (LEFT, top + 6, name))
        for index, (label, points) in enumerate(curves.items()):
            line = " ".join("%.1f,%.1f" % (across(x), top + 10 + HEIGHT - y / most * HEIGHT) for x, y in thinned(points))
            out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.3"/>' % (line, COLOURS[index]))
            out.append('<text x="%d" y="%d" fill="%s" text-anchor="end">%s</text>'
                       % (WIDTH - 20 - 150 * index, top + 6, COLOURS[index], label))
    for part in range(7):
        out.append('<text x="%.0f" y="%d" text-anchor="middle" fill="#555">%.3g</text>'
                   % (across(end * part / 6), whole - GAP + 26, end * part / 6))
    out.append('<text x="%d" y="%d" text-anchor="end" fill="#555">minutes</text></svg>' % (WIDTH - 4, whole - 2))
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
