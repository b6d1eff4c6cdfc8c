"""A screen of a terminal, as `tmux capture-pane -e' prints it, becomes a picture."""
import re

from PIL import Image, ImageDraw, ImageFont

FONTS = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono%s.ttf"
SIZE = 14
MARGIN = 10
INK, PAPER = (0, 0, 0), (255, 255, 255)
# Those of xterm, but not as bright.
COLOURS = [(0, 0, 0), (178, 24, 24), (24, 130, 24), (150, 100, 0), (30, 60, 180), (150, 30, 150), (0, 120, 120),
           (210, 210, 210), (100, 100, 100), (210, 60, 60), (40, 160, 40), (190, 140, 20), (60, 100, 220),
           (190, 60, 190), (30, 160, 160), (255, 255, 255)]


def colour(number):
    """One of the 256 colours of a terminal."""
    if number < 16:
        return COLOURS[number]
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    number -= 16
    return tuple(55 + 40 * level if level else 0 for level in (number // 36, number // 6 % 6, number % 6))


class Pen:
    """How what follows is drawn."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.ink, self.paper, self.bold, self.underline, self.inverse = None, None, False, False, False

    def set(self, codes):
        codes = [int(code or 0) for code in re.split("[;:]", codes)]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code in (1, 22):
                self.bold = code == 1
            elif code in (4, 24):
                self.underline = code == 4
            elif code in (7, 27):
                self.inverse = code == 7
            elif code in (38, 48):
                kind = codes.pop(0)
                value = colour(codes.pop(0)) if kind == 5 else tuple(codes.pop(0) for _ in range(3))
                if code == 38:
                    self.ink = value
                else:
                    self.paper = value
            elif code in (39, 49):
                if code == 39:
                    self.ink = None
                else:
                    self.paper = None
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.ink = COLOURS[code - 30 if code < 90 else code - 82]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.paper = COLOURS[code - 40 if code < 100 else code - 92]

    def colours(self):
        ink, paper = self.ink or INK, self.paper or PAPER
        return (paper, ink) if self.inverse else (ink, paper)


def draw(screen, columns, path):
    """Draw SCREEN, so many COLUMNS wide, to the file PATH."""
    fonts = {bold: ImageFont.truetype(FONTS % ("-Bold" if bold else ""), SIZE) for bold in (False, True)}
    width = round(fonts[False].getlength("M"))
    height = sum(fonts[False].getmetrics()) + 1
    lines = screen.rstrip("\n").split("\n")
    image = Image.new("RGB", (columns * width + 2 * MARGIN, len(lines) * height + 2 * MARGIN), PAPER)
    canvas, pen = ImageDraw.Draw(image), Pen()
    for row, line in enumerate(lines):
        y, column = MARGIN + row * height, 0
        for codes, text in re.findall(r"\x1b\[([\d;:]*)m|([^\x1b]|\x1b[^\[m]*)", line):
            if not text:
                pen.set(codes)
            elif column < columns:
                ink, paper = pen.colours()
                x = MARGIN + column * width
                canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=paper)
                canvas.text((x, y), text, fill=ink, font=fonts[pen.bold])
                if pen.underline:
                    canvas.line((x, y + height - 2, x + width - 1, y + height - 2), fill=ink)
                column += 1
    # A few colours are enough, and much smaller.
    image.quantize(64).save(path, optimize=True)
