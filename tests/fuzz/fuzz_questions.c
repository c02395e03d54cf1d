/* fuzz_questions.c - a file of questions: what is read is read again at its place, and what makes a record makes the same line
 * again */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "train/record.h"

static void record_check(const json_t *object)
{
    struct record record, again;
    struct error err;
    if (record_take(&record, object, &err))
        return;
    char *text = record_text(&record);
    json_t *line = json_loads(text, 0, NULL);
    if (!line || record_take(&again, line, &err))
        abort();
    char *second = record_text(&again);
    if (strcmp(text, second) != 0)
        abort();
    json_decref(line);
    free(text);
    free(second);
    record_free(&record);
    record_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { PLACES = 64 };
    struct question_file *file;
    struct question_place places[PLACES], place;
    json_t *questions[PLACES], *question, *again;
    struct error err;
    char path[64];
    int n = 0;
    fuzz_file("questions", data, size);
    snprintf(path, sizeof path, "%s/questions", fuzz_folder());
    if (question_file_open(&file, path, &err))
        abort();
    while (question_file_next(file, &place, n < PLACES ? &question : NULL, &err) == 1)
        if (n < PLACES) {
            if (question)
                record_check(question);
            places[n] = place;
            questions[n++] = question;
        }
    while (n-- > 0) {
        if (question_file_read(file, &places[n], &again, &err) || !again != !questions[n] ||
            (again && !json_equal(again, questions[n])))
            abort();
        json_decref(again);
        json_decref(questions[n]);
    }
    question_file_close(file);
    return 0;
}
