"""The gap to the maximum against the passes over the data."""

from pathlib import Path

import numpy as np

STYLES = {  # a selection that a reader can tell apart
    "em": ("black", "-"),
    "alpha_em": ("tab:olive", "-"),
    "squarem": ("tab:blue", "-"),
    "anderson": ("tab:cyan", "-"),
    "quasi_newton_em": ("tab:blue", ":"),
    "conjugate_gradient_em": ("tab:cyan", ":"),
    "incremental_em": ("tab:green", "-"),
    "stepwise_em": ("tab:green", ":"),
    "saem": ("tab:purple", ":"),
    "newton": ("tab:red", "-"),
    "scipy L-BFGS": ("tab:red", "--"),
    "gradient_ascent(adam)": ("tab:red", ":"),
}
LEAST = 1e-9


def draw(gaps: dict[str, dict[str, tuple]], path: Path) -> None:
    """`gaps` maps a problem's title to, for each variant, its passes, gaps, and whether the best so far counts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(gaps), 4.2), layout="constrained")
    panels = figure.subplots(1, len(gaps), squeeze=False, sharey=True)[0]
    for panel, (title, curves) in zip(panels, gaps.items(), strict=True):
        for label, (colour, line) in STYLES.items():
            passes, gap, monotone = curves[label]
            gap = np.maximum(np.nan_to_num(gap, nan=np.inf), LEAST)
            gap = np.minimum.accumulate(gap) if monotone else gap
            shown = passes > 0
            panel.loglog(passes[shown], gap[shown], color=colour, linestyle=line, linewidth=1.4, label=label)
        panel.set_title(title.split(":")[0], fontsize=10)
        panel.set_xlabel("passes over the data")
        panel.set_ylim(LEAST, 1)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("gap to the maximum, nats per observation")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
