"""Does the video obey its camera? Points of the commanded depth are followed in the video; where they have gone tells
how its camera has moved."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from longvie.evaluation.following import Paths, ready
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value
from longvie.evaluation.reprojection import HEIGHT, View, between, rays, reproject, view
from longvie.evaluation.tally import Tally

SPAN, EVERY = 8, 16  # frames from one camera to the next, and from one such span to the next
POINTS, APART, QUALITY = 400, 4, 1e-4  # corners at most, pixels between them, share of the strongest one's strength
SMOOTH = 1.3  # ratio of the farthest to the nearest depth around a point: across an outline it has no certain depth
FEWEST = 12  # points that a camera can be found from
INLIER = 4.0  # pixels at 256 px height that a point may be off
TRAVEL = 0.02  # of the median depth of the points: a camera that moves less has no direction worth the name
TURNED, ASTRAY = 30.0, 2.0  # degrees and ratio that count as lost; beyond them it no longer matters how far
TELLS = (1.0, 0.3)  # errors up to which the truth's own camera counts as told: degrees, share of the travel
SEED = 0

Grey = UInt8[np.ndarray, "h w"]


@dataclass
class Picked:
    """Points of one frame on their way: the pixels that they come from, and where they are."""

    start: View
    x: Int[np.ndarray, " n"]
    y: Int[np.ndarray, " n"]
    paths: Paths


class Chase:
    """One frame and its points in memory, of one video."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.picked: Picked | None = None
        self.before: Grey | None = None

    def see(self, moment: Moment) -> "Found | None":
        """What a span says at its end; None on the way, and where there were no points to begin with."""
        passed = moment.number % EVERY
        if passed > SPAN or (passed and self.picked is None):
            return None
        grey, found = ready(moment.grey), None
        if passed == 0:
            now = view(moment, self.facts)
            self.picked = None if now is None else _pick_up(grey, now)
        elif self.picked is not None and self.before is not None:
            self.picked.paths.step(self.before, grey)
        if passed == SPAN and self.picked is not None:
            now = view(moment, self.facts)
            found = None if now is None else _compared(self.picked, now)
            self.picked = None
        self.before = grey
        return found


@dataclass(frozen=True)
class Found:
    """Errors of a camera: degrees, and a share of its travel, where it travels."""

    rotation: float
    translation: float | None

    @property
    def tells(self) -> bool:
        """Whether a video that is right shows its camera here."""
        return self.rotation <= TELLS[0] and (self.translation is None or self.translation <= TELLS[1])


def _compared(picked: Picked, now: View) -> Found | None:
    """The camera since the points were picked up, if there were points enough to begin with."""
    static = reproject(picked.start, now)[1][picked.y, picked.x]
    if static.sum() < FEWEST:
        return None
    depth = picked.start.depth[picked.y, picked.x]
    true = between(picked.start.pose, now.pose)
    height, width = now.depth.shape
    points = rays((height, width), now.focal)[picked.y, picked.x] * depth[:, None]
    used = static & picked.paths.alive
    found = camera(points[used], picked.paths.places[used], now.focal, (height, width))
    rotation = TURNED if found is None else min(TURNED, _angle(true, found))
    travel = float(np.linalg.norm(_eye(true)))
    if travel < TRAVEL * float(np.median(depth[static])):
        return Found(rotation, None)
    off = ASTRAY if found is None else float(np.linalg.norm(_eye(true) - _eye(found)) / travel)
    return Found(rotation, min(ASTRAY, off))


class CameraError:
    """The video and, where it is known, the truth, which says in which spans a camera can be told at all."""

    def __init__(self, facts: Facts) -> None:
        self.made, self.true = Chase(facts), Chase(facts)
        self.rotation, self.translation = Tally(facts.fps), Tally(facts.fps)
        self.untold = 0

    def see(self, moment: Moment) -> None:
        made = self.made.see(moment)
        if moment.truth is not None:
            true = self.true.see(moment.true)
            if true is None or not true.tells:
                self.untold += moment.number % EVERY == SPAN and moment.depth is not None and moment.pose is not None
                return
            made = made or Found(TURNED, None if true.translation is None else ASTRAY)  # nothing there to follow
        if made is None:
            return
        self.rotation.add(moment.time, made.rotation)
        if made.translation is not None:
            self.translation.add(moment.time, made.translation)

    def values(self) -> Mapping[str, Value | Refused]:
        rotation, translation = self.rotation.mean(), self.translation.mean()
        if not self.rotation.n:
            rotation = Refused(
                f"in {self.untold} spans the truth itself does not show its camera"
                if self.untold
                else f"no {SPAN} frames with depth, cameras, focal length and {FEWEST} points to follow"
            )
        if not self.translation.n:
            translation = rotation if isinstance(rotation, Refused) else Refused("the commanded camera does not travel")
        return {"ctl.pose.rotation": rotation, "ctl.pose.translation": translation}


def camera(
    points: Float[np.ndarray, "n 3"], places: Float[np.ndarray, "n 2"], focal: float, size: tuple[int, int]
) -> Float[np.ndarray, "4 4"] | None:
    """The camera that sees points at these places, as a matrix from their coordinates to its own; None where too few
    agree. RANSAC (Fischler and Bolles 1981), then least squares on the points that do.
    """
    if len(points) < FEWEST:
        return None
    inner = np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
    points, places = points.astype(np.float64), places.astype(np.float64)
    cv2.setRNGSeed(SEED)
    done, turn, shift, agree = cv2.solvePnPRansac(
        points, places, inner, None, iterationsCount=200, reprojectionError=INLIER * size[0] / HEIGHT, confidence=0.999
    )
    if not done or agree is None or len(agree) < FEWEST // 2:
        return None
    inliers = np.asarray(agree, int)[:, 0]
    turn, shift = cv2.solvePnPRefineLM(points[inliers], places[inliers], inner, None, turn, shift)
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return found if np.isfinite(found).all() else None


def _pick_up(grey: Grey, now: View) -> Picked | None:
    """The strongest corners of the video, where the commanded depth is that of one surface."""
    known = np.isfinite(now.depth) & (now.depth > 0)
    depth = np.where(known, now.depth, 1e6).astype(np.float32)
    around = np.ones((5, 5), np.uint8)
    whole = (cv2.dilate(depth, around) <= SMOOTH * cv2.erode(depth, around)) & known
    found = cv2.goodFeaturesToTrack(grey, POINTS, QUALITY, APART, mask=whole.astype(np.uint8), blockSize=7)
    if found is None:
        return None
    places = found[:, 0]
    x, y = np.rint(places).astype(int).T
    return Picked(now, x, y, Paths(places))


def _angle(true: Float[np.ndarray, "4 4"], found: Float[np.ndarray, "4 4"]) -> float:
    """Between two turns, degrees."""
    cosine = (np.trace(true[:3, :3].T @ found[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _eye(motion: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, " 3"]:
    """Where the second camera stands, as the first one sees it."""
    return -motion[:3, :3].T @ motion[:3, 3]


FORMULA = (
    "camera of V_t+8 by PnP-RANSAC (4 px at 256 px height, then least squares) from the 3-D points that D_t commands "
    "at up to 400 corners of V_t, followed by pyramidal Lucas-Kanade from frame to frame; static points (their depth "
    "reprojects within 3 %) away from outlines; where the truth is known, only in spans in which the same of the truth "
    f"is off by at most {TELLS[0]:g} degrees and {TELLS[1]:g} of the way: fog, night and bare ground tell no camera"
)
NEEDS: frozenset[Need] = frozenset({"depth", "poses"})
FAMILY = Family(
    "camera",
    (
        Metric(
            "ctl.pose.rotation", 2, "turn of the camera, against the turn commanded",
            f"arccos((tr(R^T R') - 1) / 2) of the commanded R and R' of the {FORMULA}; {TURNED:g} at most and where "
            "none is found; mean over 8 of every 16 frames",
            "degrees", "lower", (0.0, TURNED), NEEDS,
            sees=("lag", "frozen", "unrelated", "shuffled"), ignores=("saturation", "flicker", "swap"),
        ),
        Metric(
            "ctl.pose.translation", 2, "travel of the camera, against the travel commanded",
            f"|e - e'| / |e| of the way e that the camera is commanded and e' of the {FORMULA}; {ASTRAY:g} at most and "
            "where none is found; mean over those 8 of every 16 frames in which |e| is "
            f"{100 * TRAVEL:g} % of the median depth",
            "", "lower", (0.0, ASTRAY), NEEDS,
            sees=("lag", "frozen", "unrelated", "shuffled"), ignores=("saturation", "flicker", "swap"),
        ),
    ),
    CameraError,
)  # fmt: skip
