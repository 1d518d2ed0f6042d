"""Image files of a folder, found as torchvision's `ImageFolder` finds them; what is left out is counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

EXTENSIONS = (b".jpeg", b".jpg", b".png", b".ppm", b".bmp", b".pgm", b".tif", b".tiff", b".webp")
"""Ends of the names that torchvision's `ImageFolder` reads."""
BESIDE, HIDDEN, IRREGULAR = "beside the class folders", "hidden", "no regular file"
JUNK = b"__MACOSX"
"""Folder that an archive of macOS leaves behind."""


def image_files(folder: str, left_out: Counter[str]) -> list[bytes]:
    """Lists the image files in a folder and its sub-folders; links are followed, each folder is read once.

    Hidden files and folders are skipped. What is no regular file, such as a pipe or a device, is left out: reading it
    may never end. A broken link is listed, so that the missing image is an error where it is read.

    Args:
        folder: The folder.
        left_out: Receives the number of files that are left out, by the end of their names or another reason.

    Returns:
        Paths relative to the folder, in no order.
    """
    root, found = os.fsencode(folder), []
    waiting, seen = [b""], set[tuple[int, int]]()
    while waiting:
        at = waiting.pop()
        path = os.path.join(root, at)
        place = os.stat(path)
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        with os.scandir(path) as entries:
            for entry in entries:
                if is_kind(entry.is_dir):
                    waiting += [] if is_hidden(entry.name) else [os.path.join(at, entry.name)]
                elif reason := _why_not(entry):
                    left_out[reason] += reason != "."
                else:
                    found.append(os.path.join(at, entry.name))
    return found


def is_image(name: bytes) -> bool:
    """Returns whether a file is an image, by its name."""
    return name.lower().endswith(EXTENSIONS) and not is_hidden(name)


def is_hidden(name: bytes) -> bool:
    """Returns whether a file or folder is one that systems leave behind."""
    return name.startswith(b".") or name == JUNK


def describe_left_out(left_out: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Yields a line about the files of each split that are left out."""
    for split, reasons in left_out.items():
        if count := reasons.total():
            kinds = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()) if count)
            files = "1 file is" if count == 1 else f"{count:,} files are"
            read = " ".join(sorted(end.decode() for end in EXTENSIONS))
            yield f"{split}: {files} left out ({kinds}); read are regular files that end in {read}"


def _why_not(entry: os.DirEntry[bytes]) -> str | None:
    """Returns why a file is left out; "." for one that is no image and hidden, None for an image."""
    if is_hidden(entry.name):
        return HIDDEN if entry.name.lower().endswith(EXTENSIONS) else "."
    if not is_image(entry.name):
        return os.path.splitext(os.fsdecode(entry.name.lower()))[1] or "without an end"
    return None if is_kind(entry.is_file) or not os.path.exists(entry.path) else IRREGULAR


def is_kind(kind: Callable[[], bool]) -> bool:
    """Returns whether an entry is of a kind; a link in a loop is of none."""
    try:
        return kind()
    except OSError:
        return False
