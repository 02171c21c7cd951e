"""Where published data sets come from: address, size, digests, licence, citation; and those that one has to ask for.

Authors' repositories are fetched as one archive: hundreds of single files would run into their host's limits. Such an
archive is packed anew by its host from time to time, so that it has no digest to rely on; the files in it have.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import resources

__all__ = ["BY_HAND", "SOURCES", "ByHand", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that can be fetched.

    Parameters
    ----------
    name, title
        What `gazepipe import` calls it, and what people do.
    url
        Of a zip archive. What is taken of it is below a folder ``data``, and is put where `gazepipe import` wants it.
    size_mb, unpacked_mb
        About how large the download is, and what is kept of it.
    files
        Patterns of what is taken, as it lies in the data set's folder.
    needed
        Without these it is not this data set.
    licence, page, citation
        What it may be used for, where that is said, and what to cite.
    digests_file
        List of SHA-256 in `gazepipe.datasets`; "" where they are not known before the first download.
    """

    name: str
    title: str
    url: str
    size_mb: int
    unpacked_mb: int
    files: tuple[str, ...]
    needed: tuple[str, ...]
    licence: str
    page: str
    citation: str
    digests_file: str = ""

    def place(self, member: str) -> str | None:
        """Where a file of the archive goes in the data set's folder; None if it is not needed."""
        below = member.partition("/")[2]  # the host's name of the archive comes first
        path = below.removeprefix("data/")
        # `fnmatch` lets a star stand for slashes, too.
        if any(fnmatch(path, p) and path.count("/") == p.count("/") for p in self.files):
            return path
        return None

    def digests(self) -> dict[str, str]:
        """File → SHA-256, as far as they are known to gazepipe."""
        if not self.digests_file:
            return {}
        text = resources.files("gazepipe.datasets").joinpath(self.digests_file).read_text(encoding="ascii")
        return {path: digest for digest, path in (line.split("  ", 1) for line in text.splitlines())}


@dataclass(frozen=True, slots=True)
class ByHand:
    """A data set that cannot be fetched: why, where to ask, and what must lie where.

    `layout` is pattern → (what it is, how many there are in the whole data set, 0 where any number is right).
    """

    name: str
    title: str
    why: str
    ask: str
    layout: dict[str, tuple[str, int]]
    citation: str
    import_command: str


_LAYOUT = ("LICENSE", "eye/fixations.mat", "stimuli/*.jpg")

SOURCES = {
    source.name: source
    for source in (
        Source(
            name="osie",
            title="OSIE: 15 people, 700 images, free viewing for 3 s",
            url="https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/master.zip",
            size_mb=130,
            unpacked_mb=51,
            files=_LAYOUT,
            needed=_LAYOUT,
            licence="MIT License, Copyright (c) 2014 NUS VIP - Visual Information Processing Lab",
            page="https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels",
            citation="Xu, J., Jiang, M., Wang, S., Kankanhalli, M. S., & Zhao, Q. (2014). Predicting human gaze beyond "
            "pixels. Journal of Vision, 14(1):28. doi:10.1167/14.1.28",
            digests_file="osie.sha256",
        ),
        Source(
            name="crowd",
            title="NUS crowd: 16 people, 500 images of crowds, free viewing",
            # Whatever the default branch is called.
            url="https://github.com/NUS-VIP/saliency-in-crowd/archive/HEAD.zip",
            size_mb=150,
            unpacked_mb=150,
            files=_LAYOUT,
            needed=_LAYOUT,
            licence="MIT License, Copyright (c) 2014 Ming Jiang",
            page="https://github.com/NUS-VIP/saliency-in-crowd",
            citation="Jiang, M., Xu, J., & Zhao, Q. (2014). Saliency in crowd. ECCV 2014, LNCS 8695, 17-32.",
        ),
    )
}

BY_HAND = {
    one.name: one
    for one in (
        ByHand(
            name="ps",
            title="PS: 30 people, 1,600 images, four times each",
            why="its authors state no licence, so that gazepipe does not fetch it for you",
            ask="Get fixData from the authors' repository https://github.com/xuyanyu-shh/Personalized-Saliency (folder "
            "Data), and ask the authors of the paper for the images; ask them, too, what you may do with both.",
            layout={
                "fixData/ImfixData_Sub_*.mat": ("fixations, one file a person", 30),
                "images/*": ("the images, if you have them, for --images", 0),
            },
            citation="Xu, Y., Li, N., Wu, J., Yu, J., & Gao, S. (2017). Beyond universal saliency: personalized "
            "saliency prediction with multi-task CNN. IJCAI, 3887-3893. doi:10.24963/ijcai.2017/543",
            import_command="gazepipe import ps {folder}",
        ),
        ByHand(
            name="doves",
            title="DOVES: 29 people, 101 grey images, raw gaze at 200 Hz",
            why="its authors give the password of their archive to those who ask for it",
            ask="Write to the address on http://live.ece.utexas.edu/research/doves, with your affiliation and what you "
            "want to do. The terms are there: education and research, citing the article and van Hateren's images. The "
            "eye data come as MATLAB files; write each person's as a table.",
            layout={
                "recordings/*.csv.gz": ("one table a person: time_ms, x_px, y_px, trial, image", 29),
                "stimuli/*.jpg": ("the images, 1024 x 768 pixels", 101),
            },
            citation="van der Linde, I., Rajashekar, U., Bovik, A. C., & Cormack, L. K. (2009). DOVES: a database of "
            "visual eye movements. Spatial Vision, 22(2), 161-177.",
            import_command="gazepipe import doves {folder}",
        ),
        ByHand(
            name="id",
            title="ID: 102 people, the 700 images of OSIE",
            why="no address of it could be confirmed",
            ask="See what the article says of its data: https://pmc.ncbi.nlm.nih.gov/articles/PMC6576124. The images "
            "are those of OSIE: `gazepipe fetch osie`.",
            layout={
                "fixations.csv": ("one row a fixation: user, stimulus, x_px, y_px, duration_ms", 1),
                "stimuli/*.jpg": ("the images of OSIE", 700),
            },
            citation="de Haas, B., Iakovidis, A. L., Schwarzkopf, D. S., & Gegenfurtner, K. R. (2019). Individual "
            "differences in visual salience vary along semantic dimensions. PNAS, 116(24), 11687-11692.",
            import_command="gazepipe import table {folder}/fixations.csv --images {folder}/stimuli "
            "--pixels-per-degree N",
        ),
    )
}
