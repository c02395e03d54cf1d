/* answer_text.c - tokens to bytes to characters to what may be shown */
#include "coordinator/answer_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Takes over `characters`. */
static char *stops_pass(struct answer_text *text, char *characters, bool armed, const char **stop)
{
    *stop = NULL;
    if (!text->stops)
        return characters;
    char *shown = stop_strings_push(text->stops, characters, armed, stop);
    free(characters);
    return shown;
}

/* Takes over `characters`: its zero bytes become U+FFFD. */
static char *zeros_replace(char *characters, size_t size)
{
    if (!memchr(characters, 0, size))
        return characters;
    char *text = mem_new(3 * size + 1, 1), *end = text;
    for (size_t i = 0; i < size; i++) {
        if (characters[i])
            *end++ = characters[i];
        else
            end = stpcpy(end, "\uFFFD");
    }
    free(characters);
    return text;
}

static char *bytes_pass(struct answer_text *text, const char *bytes, size_t size)
{
    char *characters = mem_new(3 * (size + 4) + 1, 1); /* tokenizer.h */
    return zeros_replace(characters, text_stream_push(&text->characters, bytes, size, characters));
}

char *answer_text_push(struct answer_text *text, const struct tokenizer *tokenizer, int32_t id, bool armed, const char **stop)
{
    size_t size = 0;
    const char *bytes = tokenizer_bytes(tokenizer, id, &size);
    return stops_pass(text, bytes ? bytes_pass(text, bytes, size) : mem_string(""), armed, stop);
}

char *answer_text_rest(struct answer_text *text, const char **stop)
{
    char *last = stops_pass(text, bytes_pass(text, NULL, 0), true, stop);
    if (!text->stops || *stop)
        return last;
    char *held = stop_strings_rest(text->stops), *all = mem_format("%s%s", last, held);
    free(last);
    free(held);
    return all;
}

char *answer_text_of(const struct tokenizer *tokenizer, const int32_t *ids, int n, bool keep_special)
{
    size_t size;
    char *text = tokenizer_decode(tokenizer, ids, n, keep_special, &size);
    return zeros_replace(text, size);
}

void answer_text_free(struct answer_text *text)
{
    stop_strings_free(text->stops);
}
