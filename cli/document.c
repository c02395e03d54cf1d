/* document.c - one document as Markdown and as HTML */
#include "cli/document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum block { BLOCK_NONE, BLOCK_LIST, BLOCK_TABLE };

struct document {
    char *dir, *md_path, *html_path;
    FILE *md, *html;
    enum block block; /* that is open */
    int columns, column;
    int missing; /* figures whose plot could not be read */
};

static const char head[] = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
static const char style[] =
    "</title>\n<style>\n"
    "body { font: 16px/1.5 system-ui, 'DejaVu Sans', sans-serif; color: #1b1b1b; background: #fff; max-width: 60rem; margin: 2rem "
    "auto; "
    "padding: 0 1rem; }\n"
    "h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid #ddd; }\n"
    "code, pre { font: 0.88em 'DejaVu Sans Mono', monospace; background: #f4f4f4; border-radius: 3px; }\n"
    "code { padding: 0 0.2em; } pre { padding: 0.7em; white-space: pre-wrap; overflow-wrap: anywhere; }\n"
    ".table { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }\n"
    "th, td { padding: 0.28rem 0.7rem; text-align: right; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }\n"
    "th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; }\n"
    "th:first-child, td:first-child { text-align: left; padding-left: 0; }\n"
    "figure { margin: 1.6rem 0; } figure svg { width: 100%; height: auto; } figcaption { font-size: 0.92rem; color: #444; }\n"
    "</style>\n</head>\n<body>\n";

/* ---- texts ---- */

static void html_char(FILE *f, char c)
{
    if (c == '&')
        fputs("&amp;", f);
    else if (c == '<')
        fputs("&lt;", f);
    else if (c == '>')
        fputs("&gt;", f);
    else
        fputc(c, f);
}

/* What Markdown would take for more than itself; | only matters in tables, and is harmless elsewhere. */
static void md_char(FILE *f, char c, bool code)
{
    if (!code && strchr("\\<>_|[]#*", c) && c)
        fputc('\\', f);
    fputc(c == '\n' ? ' ' : c, f);
}

static void code_mark(struct document *d, bool *code)
{
    *code = !*code;
    fputc('`', d->md);
    fputs(*code ? "<code>" : "</code>", d->html);
}

static void bold_mark(struct document *d, bool *bold)
{
    *bold = !*bold;
    fputs("**", d->md);
    fputs(*bold ? "<strong>" : "</strong>", d->html);
}

/* A mark (` or **) opens or closes; between ` nothing else is a mark. What is open at the end is closed: somebody else's words may
 * have one mark alone. */
static void text_write(struct document *d, const char *text)
{
    bool code = false, bold = false;
    for (const char *c = text; *c; c++) {
        if (*c == '`') {
            code_mark(d, &code);
        } else if (!code && c[0] == '*' && c[1] == '*') {
            bold_mark(d, &bold);
            c++;
        } else {
            md_char(d->md, *c, code);
            html_char(d->html, *c);
        }
    }
    if (code)
        code_mark(d, &code);
    if (bold)
        bold_mark(d, &bold);
}

static void text_format(struct document *d, const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        return;
    text_write(d, text);
    free(text);
}

/* ---- blocks ---- */

static void block_begin(struct document *d, enum block block)
{
    if (d->block == block && block == BLOCK_LIST)
        return;
    if (d->block == BLOCK_LIST)
        fputs("</ul>\n", d->html);
    if (d->block == BLOCK_TABLE)
        fputs("</tbody>\n</table></div>\n", d->html);
    if (d->block != BLOCK_NONE)
        fputs("\n", d->md);
    if (block == BLOCK_LIST)
        fputs("<ul>\n", d->html);
    d->block = block;
}

void document_heading(struct document *d, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    block_begin(d, BLOCK_NONE);
    fputs("## ", d->md);
    fputs("<h2>", d->html);
    text_format(d, format, arguments);
    fputs("\n\n", d->md);
    fputs("</h2>\n", d->html);
    va_end(arguments);
}

void document_text(struct document *d, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    block_begin(d, BLOCK_NONE);
    fputs("<p>", d->html);
    text_format(d, format, arguments);
    fputs("\n\n", d->md);
    fputs("</p>\n", d->html);
    va_end(arguments);
}

void document_item(struct document *d, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    block_begin(d, BLOCK_LIST);
    fputs("* ", d->md);
    fputs("<li>", d->html);
    text_format(d, format, arguments);
    fputs("\n", d->md);
    fputs("</li>\n", d->html);
    va_end(arguments);
}

void document_code(struct document *d, const char *text)
{
    block_begin(d, BLOCK_NONE);
    fprintf(d->md, "```\n%s\n```\n\n", text);
    fputs("<pre>", d->html);
    for (const char *c = text; *c; c++)
        html_char(d->html, *c);
    fputs("</pre>\n", d->html);
}

void document_table(struct document *d, const char *const *titles, int columns)
{
    block_begin(d, BLOCK_NONE);
    d->block = BLOCK_TABLE;
    d->columns = columns;
    d->column = 0;
    fputs("<div class=\"table\"><table>\n<thead><tr>", d->html);
    fputc('|', d->md);
    for (int i = 0; i < columns; i++) {
        fputs("<th>", d->html);
        fputc(' ', d->md);
        text_write(d, titles[i]);
        fputs("</th>", d->html);
        fputs(" |", d->md);
    }
    fputs("</tr></thead>\n<tbody>\n", d->html);
    fputs("\n|", d->md);
    for (int i = 0; i < columns; i++)
        fputs(i ? "--:|" : ":--|", d->md);
    fputc('\n', d->md);
}

void document_cell(struct document *d, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs(d->column ? "<td>" : "<tr><td>", d->html);
    fputs(d->column ? " " : "| ", d->md);
    text_format(d, format, arguments);
    d->column = (d->column + 1) % d->columns;
    fputs(d->column ? "</td>" : "</td></tr>\n", d->html);
    fputs(d->column ? " |" : " |\n", d->md);
    va_end(arguments);
}

/* ---- figures ---- */

/* From its <svg on: what stands before is for files of their own. */
static bool svg_copy(struct document *d, const char *stem)
{
    char *path = mem_format("%s/%s.svg", d->dir, stem), *line = NULL;
    size_t room = 0;
    bool begun = false;
    FILE *f = fopen(path, "r");
    while (f && getline(&line, &room, f) >= 0) {
        const char *from = begun ? line : strstr(line, "<svg");
        begun = begun || from;
        if (begun)
            fputs(from, d->html);
    }
    if (f)
        fclose(f);
    free(line);
    free(path);
    return begun;
}

void document_figure(struct document *d, const char *stem, const char *caption)
{
    block_begin(d, BLOCK_NONE);
    fprintf(d->md, "![%s](%s.png)\n\n*", stem, stem);
    fputs("<figure>\n", d->html);
    d->missing += !svg_copy(d, stem);
    fputs("<figcaption>", d->html);
    text_write(d, caption);
    fputs("*\n\n", d->md);
    fputs("</figcaption>\n</figure>\n", d->html);
}

/* ---- open, close ---- */

static void document_free(struct document *d)
{
    if (d->md)
        fclose(d->md);
    if (d->html)
        fclose(d->html);
    free(d->dir);
    free(d->md_path);
    free(d->html_path);
    free(d);
}

int document_open(struct document **document, const char *dir, const char *name, const char *title, struct error *err)
{
    struct document *d = mem_new(1, sizeof *d);
    d->dir = mem_string(dir);
    d->md_path = mem_format("%s/%s.md", dir, name);
    d->html_path = mem_format("%s/%s.html", dir, name);
    const char *path = d->md_path;
    d->md = fopen(path, "w");
    if (d->md)
        d->html = fopen(path = d->html_path, "w");
    if (!d->html) {
        fail(err, "%s: %s", path, strerror(errno));
        document_free(d);
        return -1;
    }
    fputs(head, d->html);
    for (const char *c = title; *c; c++)
        html_char(d->html, *c);
    fputs(style, d->html);
    fputs("# ", d->md);
    fputs("<h1>", d->html);
    text_write(d, title);
    fputs("\n\n", d->md);
    fputs("</h1>\n", d->html);
    *document = d;
    return 0;
}

/* The first of the files that is not whole. */
static int files_end(struct document *d, struct error *err)
{
    errno = 0;
    bool bad = ferror(d->md) || fflush(d->md);
    const char *path = bad ? d->md_path : d->html_path;
    bad = bad || ferror(d->html) || fflush(d->html);
    return bad ? fail(err, "%s: cannot be written: %s", path,
                      errno ? strerror(errno) : "an earlier write failed; is the disk full?")
               : 0;
}

int document_close(struct document *d, struct error *err)
{
    block_begin(d, BLOCK_NONE);
    fputs("</body>\n</html>\n", d->html);
    int result = files_end(d, err);
    if (!result && d->missing)
        result = fail(err, "%s: %d plots could not be read", d->dir, d->missing);
    document_free(d);
    return result;
}
