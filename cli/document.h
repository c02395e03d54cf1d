/* document.h - one document written twice: as Markdown, and as an HTML page that needs no other file.
 *
 * Texts are printf formats of plain text in which `code` and **bold** stand for themselves in Markdown; everything else is shown as
 * it is, whatever it means to HTML or Markdown. Calls never fail: document_close tells. */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include "base/error.h"

struct document;

/* DIR/NAME.md and DIR/NAME.html. */
int document_open(struct document **document, const char *dir, const char *name, const char *title, struct error *err);
/* -1 when something could not be written, e.g. on a full disk. */
int document_close(struct document *document, struct error *err);

void document_heading(struct document *document, const char *format, ...) __attribute__((format(printf, 2, 3)));
void document_text(struct document *document, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Items that follow each other are one list. */
void document_item(struct document *document, const char *format, ...) __attribute__((format(printf, 2, 3)));
void document_code(struct document *document, const char *text);

/* columns titles (n), then cells row by row: the first column to the left, the others to the right. */
void document_table(struct document *document, const char *const *titles, int columns);
void document_cell(struct document *document, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* DIR/stem.png in the Markdown, the bytes of DIR/stem.svg in the page. The caption is a text. */
void document_figure(struct document *document, const char *stem, const char *caption);

#endif
