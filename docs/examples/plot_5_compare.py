"""
Compare two users
=================

Two people looked at the same images. In what do they differ, and is it more than chance? ``gazepipe compare`` as a
function.
"""

from pathlib import Path

from gazepipe import Study
from gazepipe.build import build_psm
from gazepipe.compare import compare_users, map_figure
from gazepipe.ingest import ingest

study = Study.open(Path("../../recordings"), to=Path("store"))
ingest(study)
build_psm(study)

# %%
# Differences are over the images that both have seen. An asterisk stands where Student's 95 % interval leaves out
# zero; with many rows, some will by chance.

found = compare_users(study, "sim01", "sim02")
print(found.text())

# %%
# Their maps of four images, from less to more alike, and the
# difference: violet where the first one looked more, orange where the second did.

figure = map_figure(study, "sim01", "sim02")

# %%
# A notebook shows it when a line ends in ``figure``; a script calls ``figure.savefig("compared.png")``. The same
# numbers, ready for JSON:

print([row["what"] for row in found.content()["rows"]])
