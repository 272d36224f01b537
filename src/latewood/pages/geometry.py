"""A page's shape: what is shown of it, and the way from the shown page to PDF points and back.

Three frames. *PDF points*: the file's own, 1/72 inch, y upwards, before rotation and crop; citations are given in it.
*The shown page*: after crop and rotation, x to the right, y downwards, both as fractions 0 to 1 of the page: vectors
and words have their rectangles in it, since it holds for any resolution. *Pixels*: the shown page times a picture's
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latewood.errors import ShapeError
from latewood.types import FloatArray

__all__ = ["PageGeometry", "check_boxes"]

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PageGeometry:
    """The part of a page that is shown, and how it is turned.

    Args:
        left: edge of the crop box, PDF points.
        bottom: edge of the crop box, PDF points.
        right: edge of the crop box, PDF points; more than `left`.
        top: edge of the crop box, PDF points; more than `bottom`.
        rotation: degrees clockwise by which the page is turned to be shown: 0, 90, 180 or 270.

    Raises:
        ShapeError: an empty or infinite box, or another rotation.
    """

    left: float
    bottom: float
    right: float
    top: float
    rotation: int = 0

    def __post_init__(self) -> None:
        box = (self.left, self.bottom, self.right, self.top)
        if not (np.isfinite(box).all() and self.left < self.right and self.bottom < self.top):
            raise ShapeError(f"page box: got {box}, expected finite left < right and bottom < top in PDF points")
        if self.rotation not in (0, 90, 180, 270):
            raise ShapeError(f"page rotation: got {self.rotation}, expected 0, 90, 180 or 270 degrees clockwise")

    @classmethod
    def of(cls, values: Sequence[float]) -> PageGeometry:
        """From the five numbers that `to_list` gives.

        Raises:
            ShapeError: not five numbers, or impossible ones.
        """
        if len(values) != 5:
            raise ShapeError(f"page geometry: got {len(values)} numbers, expected left, bottom, right, top, rotation")
        left, bottom, right, top, rotation = values
        return cls(float(left), float(bottom), float(right), float(top), int(rotation))

    def to_list(self) -> list[float]:
        """Left, bottom, right, top, rotation: JSON-ready."""
        return [*(round(v, 4) for v in (self.left, self.bottom, self.right, self.top)), self.rotation]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the page as it is shown, in points."""
        width, height = self.right - self.left, self.top - self.bottom
        return (height, width) if self.rotation in (90, 270) else (width, height)

    def to_points(self, boxes: FloatArray) -> Points:
        """Rectangles of the shown page as rectangles in PDF points.

        Args:
            boxes: [T, 4] left, top, right, bottom, fractions of the shown page.

        Returns:
            [T, 4] float64: left, bottom, right, top in PDF points, before rotation.
        """
        u0, v0, u1, v1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        across, up = {
            0: ((u0, u1), (1 - v1, 1 - v0)),
            90: ((v0, v1), (u0, u1)),
            180: ((1 - u1, 1 - u0), (v0, v1)),
            270: ((1 - v1, 1 - v0), (1 - u1, 1 - u0)),
        }[self.rotation]
        width, height = self.right - self.left, self.top - self.bottom
        return np.stack(
            [
                self.left + across[0] * width,
                self.bottom + up[0] * height,
                self.left + across[1] * width,
                self.bottom + up[1] * height,
            ],
            axis=1,
        )

    def to_shown(self, points: Points) -> FloatArray:
        """Rectangles in PDF points as rectangles of the shown page; what is cropped away is cut off.

        Args:
            points: [T, 4] left, bottom, right, top in PDF points, before rotation.

        Returns:
            [T, 4] float32: left, top, right, bottom, fractions 0 to 1. A rectangle wholly outside the crop box has no
            area left.
        """
        values = np.asarray(points, np.float64).reshape(-1, 4)
        width, height = self.right - self.left, self.top - self.bottom
        x0, x1 = (values[:, 0] - self.left) / width, (values[:, 2] - self.left) / width
        y0, y1 = (values[:, 1] - self.bottom) / height, (values[:, 3] - self.bottom) / height
        shown = {
            0: (x0, 1 - y1, x1, 1 - y0),
            90: (y0, x0, y1, x1),
            180: (1 - x1, y0, 1 - x0, y1),
            270: (1 - y1, 1 - x1, 1 - y0, 1 - x0),
        }[self.rotation]
        return np.clip(np.stack(shown, axis=1), 0.0, 1.0).astype(np.float32)


def check_boxes(boxes: FloatArray, what: str = "boxes") -> None:
    """Refuse rectangles that are not on the shown page.

    Raises:
        ShapeError: not [T, 4] float32, or not 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype != np.float32:
        raise ShapeError(f"{what}: got {boxes.shape} {boxes.dtype}, expected [T, 4] float32")
    inside = (boxes >= 0).all() and (boxes <= 1).all()
    if not (inside and (boxes[:, 0] <= boxes[:, 2]).all() and (boxes[:, 1] <= boxes[:, 3]).all()):
        raise ShapeError(f"{what}: expected left <= right and top <= bottom within 0 to 1, fractions of the shown page")
