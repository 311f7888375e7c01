"""`fit.png`."""

import errno
import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxem.cli._errors import say
from jaxem.cli._report import title_of
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rendered(draw: Callable[[], "Figure"], name: str = "fit.png") -> bytes | None:
    """The picture `name` as the bytes of a PNG file; `None`, and a warning on standard error, if it cannot be made."""
    file = io.BytesIO()
    try:
        from matplotlib import rc_context

        with rc_context({"text.usetex": False}), warnings.catch_warnings():
            # A font that lacks a character shows a box.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            draw().savefig(file, format="png")
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        say("warning", f"{name} could not be drawn and is left out: {type(error).__name__}: {error}")
        return None
    return file.getvalue()


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
