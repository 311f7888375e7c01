"""`fit.png`."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxem.cli._report import title_of
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(document: dict[str, Any], view: View) -> "Figure":
    """The data with the fitted components, and how the fit was found."""
    from jaxem.plot import summary

    panel, size = KINDS[document["model"]].panel(view)
    name = document["criterion"]
    return summary(
        panel,
        size=size,
        title=f"{document['data']}: {title_of(document)}",
        objective=np.asarray(document["restarts"]["objective"], float),
        steps=np.asarray(document["history"], float),
        tolerance=document["best_within"],
        criteria={row["num_components"]: row[name] for row in document["criteria"] if row[name] is not None},
        chosen=document["num_components"],
        criterion_name=name.upper(),
    )
