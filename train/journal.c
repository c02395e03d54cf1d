/* journal.c - the loss curve as lines and as a picture */
#include "train/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

#define PLOT_FOLDER "MASSV_PLOT_FOLDER"
enum { PLOT_PARTS = 1500 }; /* of the steps; a picture is 900 pixels wide */

struct journal {
    char *path;
    FILE *f;
};

static char *journal_path(const char *run)
{
    return mem_format("%s/loss.jsonl", run);
}

/* The step of a line, or -1 where it is none. */
static int64_t line_step(const char *line)
{
    json_t *root = json_loads(line, 0, NULL), *step = json_object_get(root, "step");
    int64_t number = json_is_integer(step) ? (int64_t)json_integer_value(step) : -1;
    json_decref(root);
    return number;
}

/* The end of the last line that is kept. */
static long kept_size(FILE *f, int64_t steps)
{
    char *line = NULL;
    size_t room = 0;
    long end = 0;
    while (getline(&line, &room, f) > 0 && strchr(line, '\n')) {
        int64_t step = line_step(line);
        if (step < 0 || step > steps)
            break;
        end = ftell(f);
    }
    free(line);
    return end;
}

int journal_open(struct journal **journal, const char *run, int64_t steps, struct error *err)
{
    struct journal *j = mem_new(1, sizeof *j);
    j->path = journal_path(run);
    j->f = fopen(j->path, "a+");
    if (j->f)
        rewind(j->f);
    if (!j->f || ftruncate(fileno(j->f), kept_size(j->f, steps))) {
        fail(err, "%s: %s", j->path, strerror(errno));
        journal_close(j);
        return -1;
    }
    *journal = j;
    return 0;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->f)
        fclose(j->f);
    free(j->path);
    free(j);
}

int journal_add(struct journal *j, const struct journal_step *s, struct error *err)
{
    json_t *line = json_pack("{sI sf sf sf sf sf sf sf}", "step", (json_int_t)s->step, "epoch", s->epoch, "loss", s->loss,
                             "learning_rate", s->learning_rate, "gradient_norm", s->gradient_norm, "tokens_per_s", s->tokens_per_s,
                             "gflop_per_s", s->gflop_per_s, "utilisation", s->utilisation);
    if (!isnan(s->held_out_loss))
        json_object_set_new(line, "held_out_loss", json_real(s->held_out_loss));
    int bad = json_dumpf(line, j->f, JSON_COMPACT | JSON_REAL_PRECISION(9)) || putc('\n', j->f) == EOF || fflush(j->f);
    json_decref(line);
    return bad ? fail(err, "%s: %s", j->path, strerror(errno)) : 0;
}

/* ---- plot ---- */

struct point {
    double step, loss, held_out;
};

static int points_read(const char *path, struct point **points, struct error *err)
{
    int n = 0;
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen(path, "r");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    while (getline(&line, &room, f) > 0) {
        json_t *root = json_loads(line, 0, NULL), *held = json_object_get(root, "held_out_loss");
        if ((n & (n - 1)) == 0) /* full: 0, 1, 2, 4, ... */
            *points = mem_grow(*points, n ? 2 * (size_t)n : 1, sizeof **points);
        (*points)[n++] = (struct point){json_number_value(json_object_get(root, "step")),
                                        json_number_value(json_object_get(root, "loss")), held ? json_number_value(held) : NAN};
        json_decref(root);
    }
    free(line);
    fclose(f);
    return n;
}

/* Every loss where there are few. Of many, the least and the largest of each of so many parts, in their order: the picture is the
 * same, and an SVG of a million steps as small as one of a thousand. */
static void losses_put(FILE *f, const struct point *points, int n)
{
    int length = (n + PLOT_PARTS - 1) / PLOT_PARTS;
    for (int first = 0; first < n; first += length) {
        int low = first, high = first;
        for (int i = first; i < n && i < first + length; i++) {
            low = points[i].loss < points[low].loss ? i : low;
            high = points[i].loss > points[high].loss ? i : high;
        }
        int ends[] = {low < high ? low : high, low < high ? high : low};
        for (int i = 0; i < 1 + (low != high); i++)
            fprintf(f, "%.0f %.6g\n", points[ends[i]].step, points[ends[i]].loss);
    }
}

static void means_put(FILE *f, const struct point *points, int n)
{
    double mean = n ? points[0].loss : 0, keep = n > 100 ? 1 - 20.0 / n : 0.8;
    int length = (n + PLOT_PARTS - 1) / PLOT_PARTS;
    for (int i = 0; i < n; i++) {
        mean = keep * mean + (1 - keep) * points[i].loss;
        if (i % length == 0 || i == n - 1)
            fprintf(f, "%.0f %.6g\n", points[i].step, mean);
    }
}

/* The held-out loss where it was measured; was it at all? */
static bool held_put(FILE *f, const struct point *points, int n)
{
    bool held = false;
    for (int i = 0; i < n; i++)
        if (!isnan(points[i].held_out)) {
            fprintf(f, "%.0f %.6g\n", points[i].step, points[i].held_out);
            held = true;
        }
    return held;
}

static void plot_script(FILE *f, const char *title, const struct point *points, int n)
{
    fputs("$loss << end\n", f);
    losses_put(f, points, n);
    fputs("end\n$mean << end\n", f);
    means_put(f, points, n);
    fputs("end\n$held << end\n", f);
    bool held = held_put(f, points, n);
    fputs("end\n", f);
    fprintf(f, "set title \"%s\" noenhanced\nset xlabel \"step\"\nset ylabel \"loss, nats per supervised token\"\n", title);
    fputs("set grid\nset key outside top center horizontal\nset yrange [0:*]\n", f);
    static const char *const terminals[2][2] = {{"pngcairo size 900,560", "png"}, {"svg size 900,560 background 'white'", "svg"}};
    for (int i = 0; i < 2; i++) {
        fprintf(f, "set terminal %s\nset output \"loss.%s\"\n", terminals[i][0], terminals[i][1]);
        fputs("plot $loss using 1:2 with lines linecolor '#b0c4de' title 'each step', $mean using 1:2 with lines linewidth 2 "
              "linecolor '#1f4e9c' title 'running mean'",
              f);
        fputs(held ? ", $held using 1:2 with linespoints pointtype 7 linecolor '#c0392b' title 'held out'\n" : "\n", f);
    }
}

int journal_plot(const char *run, const char *title, struct error *err)
{
    struct point *points = NULL;
    char *path = journal_path(run);
    int n = points_read(path, &points, err);
    free(path);
    if (n < 0)
        return -1;
    setenv(PLOT_FOLDER, run, 1); /* a path may hold anything: no shell reads it as words */
    FILE *f = popen("cd \"$" PLOT_FOLDER "\" && exec gnuplot 2>/dev/null", "w");
    if (f)
        plot_script(f, title, points, n);
    free(points);
    int status = f ? pclose(f) : -1;
    return status ? fail(err, "%s/loss.png: gnuplot did not draw it; is it installed?", run) : 0;
}
