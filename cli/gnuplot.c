/* gnuplot.c - plots by gnuplot */
#include "cli/gnuplot.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cluster/process.h"

enum { PLOT_SECONDS = 60 }; /* far above what one takes: about a tenth of a second */

/* Colours that people with any sight tell apart (Okabe & Ito 2008); marks differ, too. Beyond six lines no colours do that: the
 * next six are dashed. */
static const char prelude[] = "set encoding utf8\n"
                              "set datafile missing '?'\n"
                              "set border 3 linecolor rgb '#666666'\n"
                              "set tics nomirror out\n"
                              "set grid ytics linetype 1 linecolor rgb '#dddddd'\n"
                              "set key outside top center horizontal maxrows 1 samplen 2\n"
                              "set style fill solid 0.85 noborder\n"
                              "set errorbars small\n"
                              "set linetype 1 linecolor rgb '#0072b2' linewidth 2 dashtype 1 pointtype 7 pointsize 0.8\n"
                              "set linetype 2 linecolor rgb '#d55e00' linewidth 2 dashtype 1 pointtype 5 pointsize 0.8\n"
                              "set linetype 3 linecolor rgb '#009e73' linewidth 2 dashtype 1 pointtype 9 pointsize 1.0\n"
                              "set linetype 4 linecolor rgb '#cc79a7' linewidth 2 dashtype 1 pointtype 11 pointsize 1.0\n"
                              "set linetype 5 linecolor rgb '#e69f00' linewidth 2 dashtype 1 pointtype 13 pointsize 1.0\n"
                              "set linetype 6 linecolor rgb '#56b4e9' linewidth 2 dashtype 1 pointtype 6 pointsize 0.8\n"
                              "set linetype 7 linecolor rgb '#000000' linewidth 2 dashtype (9,5) pointtype 4 pointsize 0.8\n"
                              "set linetype 8 linecolor rgb '#882255' linewidth 2 dashtype (9,5) pointtype 12 pointsize 1.0\n"
                              "set linetype 9 linecolor rgb '#999999' linewidth 2 dashtype (9,5) pointtype 8 pointsize 1.0\n"
                              "set linetype 10 linecolor rgb '#999933' linewidth 2 dashtype (9,5) pointtype 10 pointsize 1.0\n"
                              "set linetype 11 linecolor rgb '#332288' linewidth 2 dashtype (9,5) pointtype 2 pointsize 0.8\n"
                              "set linetype 12 linecolor rgb '#44aa99' linewidth 2 dashtype (9,5) pointtype 1 pointsize 0.8\n"
                              "set linetype cycle 12\n";

static int gnuplot_run(char *const *argv, int output, int *status, struct error *err)
{
    struct process *process;
    const struct process_options options = {.argv = argv, .output = output, .error_output = output};
    if (process_spawn(&process, &options, err))
        return fail(err, "gnuplot cannot be started, which draws the plots: is the Debian package gnuplot-nox installed?");
    bool ended = process_wait(process, PLOT_SECONDS, status);
    process_close(process);
    return ended ? 0 : fail(err, "gnuplot did not end within %d s", PLOT_SECONDS);
}

int gnuplot_possible(struct error *err)
{
    char *const argv[] = {"gnuplot", "--version", NULL};
    int status = 0, nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int result = nothing < 0 ? fail(err, "/dev/null: %s", strerror(errno)) : gnuplot_run(argv, nothing, &status, err);
    if (nothing >= 0)
        close(nothing);
    return !result && status ? fail(err, "gnuplot --version ended with status %d", status) : result;
}

FILE *gnuplot_begin(const char *dir, const char *name, struct error *err)
{
    char *path = mem_format("%s/%s.gp", dir, name);
    FILE *script = fopen(path, "w");
    if (!script)
        fail(err, "%s: %s", path, strerror(errno));
    else
        fprintf(script, "# %s.gp - gnuplot draws %s.svg and %s.png from it\n%s", name, name, name, prelude);
    free(path);
    return script;
}

/* Inside single quotes gnuplot knows one escape: '' */
static char *quoted(const char *text)
{
    char *to = mem_new(2 * strlen(text) + 1, 1), *end = to;
    for (; *text; text++) {
        if (*text == '\'')
            *end++ = '\'';
        *end++ = *text;
    }
    return to;
}

/* The first of gnuplot's words that say something. */
static void words_read(int fd, char *words, size_t size)
{
    ssize_t n = lseek(fd, 0, SEEK_SET) ? 0 : read(fd, words, size - 1);
    words[n > 0 ? n : 0] = 0;
    size_t skip = strspn(words, " \t\n^");
    memmove(words, words + skip, strlen(words + skip) + 1);
    for (char *c = words; *c; c++)
        *c = *c == '\n' ? ' ' : *c;
}

static int script_run(const char *dir, const char *name, struct error *err)
{
    char words[400], file[] = "/tmp/massv-gnuplot-XXXXXX";
    int status = 0, log = mkostemp(file, O_CLOEXEC);
    if (log < 0)
        return fail(err, "%s: %s", file, strerror(errno));
    unlink(file);
    char *where = quoted(dir), *go = mem_format("cd '%s'", where), *script = mem_format("%s.gp", name);
    char *const argv[] = {"gnuplot", "-e", go, script, NULL};
    int result = gnuplot_run(argv, log, &status, err);
    words_read(log, words, sizeof words);
    if (!result && status)
        result = fail(err, "gnuplot %s/%s ended with status %d: %s", dir, script, status, words);
    close(log);
    free(where);
    free(go);
    free(script);
    return result;
}

/* What stands in the SVG's ids, so that several may be in one page. */
static char *id_of(const char *name)
{
    char *id = mem_string(name);
    for (char *c = id; *c; c++)
        *c = isalnum((unsigned char)*c) ? *c : '_';
    return id;
}

int gnuplot_end(FILE *script, const char *dir, const char *name, const char *plot, struct error *err)
{
    char *id = id_of(name);
    fprintf(script,
            "set terminal svg size 760,430 font 'DejaVu Sans,13' noenhanced name '%s' background 'white'\nset output '%s.svg'\n%s\n"
            "set terminal pngcairo size 1140,645 font 'DejaVu Sans,13' fontscale 1.5 linewidth 1.5 pointscale 1.5 noenhanced\n"
            "set output '%s.png'\nreplot\nset output\n",
            id, name, plot, name);
    free(id);
    errno = 0;
    bool bad = ferror(script);
    if (fclose(script) || bad)
        return fail(err, "%s/%s.gp: cannot be written: %s", dir, name, strerror(errno));
    return script_run(dir, name, err);
}
