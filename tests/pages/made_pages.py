"""PDF files made for tests: by reportlab where text has to stand in known places, by hand where they have to be bad."""

from __future__ import annotations

import io

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = 400, 300


def drawn(pages, size=(WIDTH, HEIGHT), password=None, turned=False):
    """A PDF of pages, each a list of (x, y, text) in points from the lower left, in Helvetica of 12 points.

    `turned` draws everything a quarter to the left, on paper of the other orientation: right for a rotation of 90.
    """
    buffer = io.BytesIO()
    paper = size[::-1] if turned else size
    canvas = Canvas(buffer, pagesize=paper, encrypt=StandardEncryption(password) if password else None)
    for page in pages:
        canvas.setFont("Helvetica", 12)
        if turned:
            canvas.transform(0, 1, -1, 0, size[1], 0)
        for x, y, text in page:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def by_hand(objects, root=1):
    """A PDF of these objects, numbered from 1."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, root, start)
    return bytes(out)


def stream(content, more=b""):
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), more, content)


FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def page_of(box, content=b"BT /F 12 Tf 20 20 Td (late wood) Tj ET", catalogue=b"", page=b""):
    """A PDF of one page with this MediaBox and content, and further entries in its catalogue and its page."""
    return by_hand(
        [
            b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalogue,
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> %s >>"
            % (b" ".join(b"%d" % v for v in box), page),
            stream(content),
            FONT,
        ]
    )


def empty_pages(count):
    kids = b" ".join(b"%d 0 R" % number for number in range(3, count + 3))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>"
    return by_hand(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count),
            *[page] * count,
        ]
    )


def with_script():
    action = b"/OpenAction << /S /JavaScript /JS (app.alert\\('x'\\); while \\(true\\) {}) >>"
    return page_of((0, 0, 200, 200), catalogue=action)


def picture_of(text, size=(900, 300), scale=60):
    """A picture of one line of text, black on white, [H, W, 3] uint8."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((40, 100), text, fill="black", font=ImageFont.load_default(scale))
    return np.asarray(image)


def scanned(texts):
    """A PDF whose pages are pictures of these texts, 3 x 1 inches each."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(216, 72))
    for text in texts:
        canvas.drawImage(ImageReader(Image.fromarray(picture_of(text))), 0, 0, 216, 72)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()
