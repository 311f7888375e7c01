"""Parts of a summary as plain text and as HTML."""

from collections.abc import Sequence
from html import escape

from jaxem.information._summary._blocks import Block


def as_text(blocks: Sequence[Block]) -> str:
    """Parts one below the other, with cells in columns."""
    return "\n\n".join("\n".join(_lines(block)) for block in blocks)


def as_html(blocks: Sequence[Block]) -> str:
    """A section of HTML in which all text is escaped, names of columns included."""
    parts = []
    for i, block in enumerate(blocks):
        heading = "h3" if i == 0 else "h4"
        parts.append(f"<{heading}>{escape(block.title)}</{heading}>")
        parts += [f"<p>{escape(line)}</p>" for line in block.lines]
        if block.rows:
            parts.append(f"<table><thead>{_row('th', block.header, block.left)}</thead><tbody>")
            parts += [_row("td", row, block.left) for row in block.rows]
            parts.append("</tbody></table>")
    return f"<div>{''.join(parts)}</div>"


def _lines(block: Block) -> list[str]:
    lines = [block.title, *block.lines]
    if not block.rows:
        return lines
    table = [block.header, *block.rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(block.header))]
    for row in table:
        cells = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, block.left, strict=True)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _row(tag: str, cells: Sequence[str], left: Sequence[bool]) -> str:
    shown = [
        f'<{tag} style="text-align: {"left" if words else "right"}">{escape(cell)}</{tag}>'
        for cell, words in zip(cells, left, strict=True)
    ]
    return f"<tr>{''.join(shown)}</tr>"
