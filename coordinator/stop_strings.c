/* stop_strings.c - one automaton of Knuth, Morris and Pratt (1977) for each string */
#include "coordinator/stop_strings.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct pattern {
    char *text;
    size_t size;
    size_t *border; /* (size + 1) border[k]: the longest proper end of text[0, k) that is also its beginning */
    size_t matched; /* the longest end of the text so far that begins this string: its bytes are text[0, matched) */
};

struct stop_strings {
    struct pattern *patterns;
    int n;
};

/* The state after `byte` in state `matched`. */
static size_t pattern_next(const struct pattern *p, size_t matched, char byte)
{
    while (matched && (matched == p->size || p->text[matched] != byte))
        matched = p->border[matched];
    return matched + (p->text[matched] == byte);
}

static void pattern_init(struct pattern *p, const char *text)
{
    *p = (struct pattern){.text = mem_string(text), .size = strlen(text)};
    p->border = mem_new(p->size + 1, sizeof *p->border);
    for (size_t k = 1; k < p->size; k++)
        p->border[k + 1] = pattern_next(p, p->border[k], text[k]);
}

struct stop_strings *stop_strings_new(char *const *strings, int n)
{
    struct stop_strings *stops = mem_new(1, sizeof *stops);
    stops->patterns = mem_new((size_t)n, sizeof *stops->patterns);
    stops->n = n;
    for (int i = 0; i < n; i++)
        pattern_init(&stops->patterns[i], strings[i]);
    return stops;
}

void stop_strings_free(struct stop_strings *stops)
{
    if (!stops)
        return;
    for (int i = 0; i < stops->n; i++) {
        free(stops->patterns[i].text);
        free(stops->patterns[i].border);
    }
    free(stops->patterns);
    free(stops);
}

/* The longest string that this byte completes, or NULL. */
static const struct pattern *byte_take(struct stop_strings *stops, char byte)
{
    const struct pattern *found = NULL;
    for (int i = 0; i < stops->n; i++) {
        struct pattern *p = &stops->patterns[i];
        p->matched = pattern_next(p, p->matched, byte);
        if (p->matched == p->size && (!found || p->size > found->size))
            found = p;
    }
    return found;
}

/* What a string that the text so far does not complete may still become. */
static const struct pattern *longest_held(const struct stop_strings *stops, size_t *size)
{
    const struct pattern *longest = &stops->patterns[0];
    *size = 0;
    for (int i = 0; i < stops->n; i++) {
        const struct pattern *p = &stops->patterns[i];
        size_t held = p->matched == p->size ? p->border[p->size] : p->matched;
        if (held > *size) {
            *size = held;
            longest = p;
        }
    }
    return longest;
}

char *stop_strings_push(struct stop_strings *stops, const char *text, bool armed, const char **found)
{
    size_t before, held, size = strlen(text), taken = 0;
    const struct pattern *from = longest_held(stops, &before), *end = NULL;
    char *out = mem_new(before + size + 1, 1);
    memcpy(out, from->text, before);
    while (taken < size && !(end && armed))
        end = byte_take(stops, text[taken++]);
    memcpy(out + before, text, taken);
    *found = end && armed ? end->text : NULL;
    if (*found)
        held = end->size;
    else
        longest_held(stops, &held);
    out[before + taken - held] = 0;
    return out;
}

char *stop_strings_rest(struct stop_strings *stops)
{
    size_t size;
    const struct pattern *p = longest_held(stops, &size);
    char *out = mem_new(size + 1, 1);
    memcpy(out, p->text, size);
    return out;
}
