"""Connected components of equally labelled faces of a mesh, or points of a cloud.

Two faces with the same label are connected if they have a vertex in common; vertices with equal coordinates are one.
Two points with the same label are connected if they have the same coordinates, or if the place of one is among the
eight nearest places of the other. A place where points have different labels counts as that of its first point.

numpy arrays only; not differentiable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.ops._dispatch import choose
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_points
from pa3d.ops.knn import knn_reference

NEIGHBORS = 9  # a place is the nearest to itself


def components(
    points: NDArray[np.float32],  # (N, 3)
    faces: NDArray[np.int32] | None,  # (F, 3)
    labels: NDArray[np.int32],  # (F,), or (N,) of a cloud
    threads: int = 0,
) -> NDArray[np.int32]:  # (F,) or (N,)
    """The number of the component that each face or point belongs to, -1 where its label is negative.

    Components are numbered from 0 in the order of their first members. Raises TypeError for a wrong kind or dtype,
    ValueError for a wrong shape or layout, an index outside the points, or non-finite coordinates.
    """
    sizes = check_points("points", points, "N 3")
    if faces is not None:
        check("faces", faces, "F 3", "int32", sizes=sizes, empty=False)
    check("labels", labels, "N" if faces is None else "F", "int32", sizes=sizes)
    return choose("components", points).components(points, faces, labels, threads)


@reference.kernel("components")
def components_reference(
    points: NDArray[np.float32],
    faces: NDArray[np.int32] | None,
    labels: NDArray[np.int32],
    threads: int = 0,
) -> NDArray[np.int32]:
    """The rule in plain array code: members take the lowest number among those they are connected to, until none
    changes. On one thread, whatever `threads` says."""
    seen: dict[tuple[float, ...], int] = {}  # places in the order of their first points; -0 and 0 are equal as keys
    place = np.array([seen.setdefault(tuple(p), len(seen)) for p in points.tolist()])
    number = np.arange(len(labels))
    if faces is not None:
        member, group = np.repeat(number, 3), place[faces].ravel()
        pairs = [np.stack([member, group])]
    else:
        first = np.full(place.max() + 1, len(points))
        np.minimum.at(first, place, number)
        near = knn_reference(points[first][None], points[first][None], min(NEIGHBORS, len(first)))[0][0]
        own = np.repeat(np.arange(len(first)), near.shape[1])
        linked = labels[first[own]] == labels[first[near.ravel()]]
        edges = np.stack([first[own[linked]], first[near.ravel()[linked]]])
        pairs = [np.stack([number, place])]
    # One key for each label at each place; whatever shares a key is connected.
    keys = [np.unique(np.stack([labels[m], g]), axis=1, return_inverse=True)[1].reshape(-1) for m, g in pairs]
    while True:
        before = number.copy()
        for (m, _), key in zip(pairs, keys, strict=True):
            lowest = np.full(key.max() + 1, len(labels))
            np.minimum.at(lowest, key, number[m])
            np.minimum.at(number, m, lowest[key])
        if faces is None:
            for a, b in (edges, edges[::-1]):
                np.minimum.at(number, a, number[b])
        if np.array_equal(number, before):
            break
    number[labels < 0] = -1
    roots = np.unique(number[number >= 0])
    return np.where(number < 0, -1, np.searchsorted(roots, number)).astype(np.int32)
