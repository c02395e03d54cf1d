/* log_entry.c - log lines in text and JSON */
#include "base/log_entry.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    MESSAGE_MAX = 2048, /* bytes of the message in the line, escapes included */
    VALUE_MAX = 512,    /* of a field's text */
    END_MAX = 4         /* what closes a line */
};

struct out {
    char *line;
    size_t n, limit; /* of the line, now */
};

static void put(struct out *out, const char *bytes, size_t size)
{
    if (out->n + size > out->limit)
        return;
    memcpy(out->line + out->n, bytes, size);
    out->n += size;
}

static void put_text(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

/* Bytes of the UTF-8 character at text; 0 when it is none (too long a form, a surrogate, beyond U+10FFFF, cut). */
static size_t character_size(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    size_t size = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return size;
}

/* One character of a JSON string; the bytes of text that it was made of. */
static size_t json_character(char escaped[8], const char *text)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    size_t size = character_size(text);
    const char *special = size == 1 ? memchr(plain, *text, sizeof plain - 1) : NULL;
    if (special)
        snprintf(escaped, 8, "\\%c", letters[special - plain]);
    else if (!size)
        snprintf(escaped, 8, "\\ufffd");
    else if (size == 1 && ((unsigned char)*text < 0x20 || *text == 0x7f))
        snprintf(escaped, 8, "\\u%04x", (unsigned)*text);
    else
        snprintf(escaped, 8, "%.*s", (int)size, text);
    return size ? size : 1;
}

static void put_json_string(struct out *out, const char *text, size_t most)
{
    char escaped[8];
    size_t end = out->n + most < out->limit - 1 ? out->n + most : out->limit - 1;
    put_text(out, "\"");
    while (*text) {
        text += json_character(escaped, text);
        if (out->n + strlen(escaped) > end)
            break;
        put_text(out, escaped);
    }
    put_text(out, "\"");
}

static void put_number(struct out *out, double number)
{
    char text[32];
    snprintf(text, sizeof text, "%.15g", number);
    put_text(out, number - number == 0 ? text : "null"); /* JSON knows no infinity */
}

static void put_json_member(struct out *out, const char *key, const char *text, size_t most)
{
    put_text(out, ",");
    put_json_string(out, key, VALUE_MAX);
    put_text(out, ":");
    put_json_string(out, text, most);
}

/* Is there room for the field, whatever it holds? */
static bool fits(const struct out *out, const struct log_field *field)
{
    return out->n + strlen(field->key) + VALUE_MAX + 40 <= out->limit;
}

static void print_json(struct out *out, const struct log_entry *entry)
{
    struct tm utc;
    char time[64], micro[16];
    gmtime_r(&entry->time.tv_sec, &utc);
    strftime(time, sizeof time, "{\"time\":\"%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(micro, sizeof micro, ".%06ldZ\"", entry->time.tv_nsec / 1000);
    put_text(out, time);
    put_text(out, micro);
    put_json_member(out, "level", log_level_names[entry->level], VALUE_MAX);
    put_json_member(out, "program", entry->program, VALUE_MAX);
    put_json_member(out, "host", entry->host, VALUE_MAX);
    if (entry->rank >= 0) {
        put_text(out, ",\"rank\":");
        put_number(out, entry->rank);
    }
    put_json_member(out, "message", entry->message, MESSAGE_MAX);
    for (int i = 0; i < entry->n && fits(out, &entry->fields[i]); i++) {
        const struct log_field *field = &entry->fields[i];
        if (field->text) {
            put_json_member(out, field->key, field->text, VALUE_MAX);
            continue;
        }
        put_text(out, ",");
        put_json_string(out, field->key, VALUE_MAX);
        put_text(out, ":");
        put_number(out, field->number);
    }
    out->limit = LOG_LINE_MAX;
    put_text(out, "}\n");
}

/* A log is read line by line: nothing that came from outside may begin another. */
static void put_plain(struct out *out, const char *text, size_t most)
{
    for (size_t i = 0; text[i] && i < most; i++)
        put(out, (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? " " : text + i, 1);
}

static void put_plain_field(struct out *out, const struct log_field *field)
{
    put_text(out, " ");
    put_text(out, field->key);
    put_text(out, "=");
    if (!field->text)
        put_number(out, field->number);
    else if (*field->text && !strpbrk(field->text, " =\"\\\t\n"))
        put_plain(out, field->text, VALUE_MAX);
    else
        put_json_string(out, field->text, VALUE_MAX);
}

static void print_text(struct out *out, const struct log_entry *entry)
{
    struct tm utc;
    char time[64], rank[24] = "", head[160];
    gmtime_r(&entry->time.tv_sec, &utc);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    if (entry->rank >= 0)
        snprintf(rank, sizeof rank, " rank %d", entry->rank);
    snprintf(head, sizeof head, "%s.%03ldZ %s%s %s ", time, entry->time.tv_nsec / 1000000, entry->program, rank,
             log_level_names[entry->level]);
    put_text(out, head);
    put_plain(out, entry->message, MESSAGE_MAX);
    for (int i = 0; i < entry->n && fits(out, &entry->fields[i]); i++)
        put_plain_field(out, &entry->fields[i]);
    out->limit = LOG_LINE_MAX;
    put_text(out, "\n");
}

size_t log_entry_print(char line[LOG_LINE_MAX], enum log_format format, const struct log_entry *entry)
{
    struct out out = {.line = line, .limit = LOG_LINE_MAX - END_MAX};
    if (format == LOG_JSON)
        print_json(&out, entry);
    else
        print_text(&out, entry);
    return out.n;
}
