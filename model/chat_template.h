/* chat_template.h - what is read from a checkpoint's chat template. The templates of the families are code (model/prompt.c): no
 * Jinja is run. */
#ifndef MODEL_CHAT_TEMPLATE_H
#define MODEL_CHAT_TEMPLATE_H

#include <stddef.h>

#include "base/error.h"

/* The system text that the template of the folder `dir` (chat_template.jinja, chat_template.json or tokenizer_config.json, the
 * first that has one) gives to a conversation without a system turn. "" where the template has none that stands there as a literal;
 * text (size bytes) is left alone where there is no template. A file that is not JSON, or a text of size bytes and more, is an
 * error. */
int chat_template_system(char *text, size_t size, const char *dir, struct error *err);

#endif
