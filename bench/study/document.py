"""document.py - one text as Markdown and as a page of HTML that needs nothing beside it."""
import base64
import html
import pathlib

STYLE = """body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;margin:1em 0}
td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}pre{background:#f4f4f4;padding:.6em;overflow-x:auto;font-size:13px}
img{max-width:100%}.reached{color:#070}.missed{color:#b00}"""


class Document:
    def __init__(self, title, folder):
        self.folder = pathlib.Path(folder)
        self.markdown, self.page = [f"# {title}"], [f"<h1>{html.escape(title)}</h1>"]
        self.title = title

    def heading(self, text):
        self.markdown.append(f"## {text}")
        self.page.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text):
        self.markdown.append(text)
        self.page.append(f"<p>{html.escape(text)}</p>")

    def commands(self, commands):
        """Those that made the figures which follow, with their seconds."""
        lines = [f"$ {c['command']}" + (f"    # {c['seconds']:.1f} s" if c["seconds"] else "") for c in commands]
        self.markdown.append("\n".join(f"    {line}" for line in lines))
        self.page.append("<pre>" + html.escape("\n".join(lines)) + "</pre>")

    def table(self, head, rows):
        text = [[str(cell) for cell in row] for row in [head, *rows]]
        self.markdown.append("\n".join("| " + " | ".join(row) + " |" for row in [text[0], ["---"] * len(head), *text[1:]]))
        cells = ["<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>" for tag, rows in (("th", text[:1]), ("td", text[1:]))
                 for row in rows]
        self.page.append("<table>" + "".join(cells) + "</table>")

    def picture(self, path, caption):
        """A plot that lies in the document's folder as PNG, which Markdown shows, and as SVG, which is inside the page."""
        png, svg = path.with_suffix(".png").relative_to(self.folder), path.with_suffix(".svg")
        self.markdown.append(f"![{caption}]({png})\n\n{caption} ([SVG]({svg.relative_to(self.folder)}))")
        data = base64.b64encode(svg.read_bytes()).decode()
        self.page.append(f'<figure><img alt="{html.escape(caption)}" src="data:image/svg+xml;base64,{data}"><figcaption>{html.escape(caption)}'
                         "</figcaption></figure>")

    def write(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "report.md").write_text("\n\n".join(self.markdown) + "\n", encoding="utf-8")
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{STYLE}</style>'
        (self.folder / "report.html").write_text(head + "\n".join(self.page) + "</html>\n", encoding="utf-8")
