"""Topics of documents by online and batch variational Bayes: time per pass, and perplexity after as many passes."""

import tempfile

import numpy as np

from benchmarks import _documents, _harness
from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "lda"
DTYPE = "float64"
LOOSE = {"steps": 100, "tol": 1e-2}  # about what scikit-learn asks: mean change of the entries below 1e-3


def run(quick: bool, repetitions: int) -> Section:
    n, words, k, held_out = (300, 200, 3, 50) if quick else (20_000, 5000, 20, 1000)
    repetitions = min(repetitions, 2)
    few, added = 1, 2
    corpus = _documents.corpus(n, words, k, DTYPE, held_out)
    distinct = np.diff(corpus.table.indptr)
    with tempfile.TemporaryDirectory() as folder:
        spec = {"n": n, "words": words, "k": k, "rows": 32 if quick else 256, "power": 0.7, "delay": 10.0}
        spec |= {"few": few, "added": added, "folder": folder}
        entries = {}
        for online in (True, False):
            way = "online" if online else "batch"
            for label, contender, extra in (
                ("jaxem", "jaxem", {}),
                ("jaxem, documents as loosely", "jaxem", {"document": LOOSE}),
                ("scikit-learn", "scikit_learn", {"jobs": None}),
                ("scikit-learn, n_jobs=2", "scikit_learn", {"jobs": 2}),
            ):
                if quick and extra.get("jobs"):
                    continue  # starting its processes takes longer than all the rest
                name = f"{way}: {label}"
                entries[name] = (contender, "documents", {**spec, **extra, "online": online, "label": len(entries)})
        results, infos, missing = it.interleave(entries, repetitions, (DTYPE,))
        found = results[DTYPE]
        for result in (result for label in found for result in found[label]):
            scores = [
                _documents.perplexity(_documents.expected_log(np.load(path)), corpus.held_out, 1 / k)
                for path in result["topics"]
            ]
            result["first"], result["last"] = scores
    rows = []
    for label in found:
        base = label.split(":")[0] + ": jaxem"
        cells = [
            f"{_harness.median(found[label]):.3g} ({least:.3g} to {most:.3g})"
            for least, most in [_harness.spread(found[label])]
        ]
        cells.append(f"{it.ratio(results, DTYPE, label, base):.2f}")
        for which in ("first", "last"):
            least, most = _harness.spread(found[label], which)
            cells.append(f"{_harness.median(found[label], which):.1f} ({least:.1f} to {most:.1f})")
        rows.append([label, *cells])
    truth = _documents.perplexity(np.log(np.maximum(corpus.topics, 1e-300)), corpus.held_out, 1 / k)
    return Section(
        NAME,
        "Topics of documents, time per pass",
        f"{n:,} documents of {distinct.mean():.0f} distinct words on average, {distinct.max()} at most, of a "
        f"vocabulary of {words:,}; {k} topics, variational Bayes with concentrations 1/{k}. Online: blocks of "
        f"{spec['rows']} documents, step (t + {spec['delay']:g})^-{spec['power']:g}. Each with starts of its own, "
        f"another one in each repetition. Seconds a pass, and perplexity of {held_out:,} other documents by the "
        f"variational bound, evaluated alike for all; median of {repetitions} interleaved repetitions (least to most).",
        ["contender", "pass, s", "x jaxem", f"perplexity, {few} pass", f"perplexity, {few + added} passes"],
        rows,
        [],
        [
            "\n".join(
                [
                    f"- perplexity under the topics that the documents were drawn from: {truth:.1f}.",
                    f"- as loosely: rounds for a document end at a change of {LOOSE['tol']:g} or after "
                    f"{LOOSE['steps']}, about where scikit-learn's end.",
                    *it.notes(infos, missing, {}, results),
                ]
            )
        ],
    )
