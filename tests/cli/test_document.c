/* test_document.c - one document twice: what is markup in neither language stays itself in both; a disk that is full */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/document.h"

static char *file_read(const char *dir, const char *name)
{
    char *path = mem_format("%s/%s", dir, name), *text = mem_new(1 << 16, 1);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, (1 << 16) - 1, f)] = 0;
    fclose(f);
    unlink(path);
    free(path);
    return text;
}

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static void a_document_is_the_same_in_both(void **state)
{
    (void)state;
    static const char *const titles[] = {"name", "a|b"};
    char dir[] = "/tmp/massv-document-XXXXXX";
    struct document *d;
    struct error err;
    assert_non_null(mkdtemp(dir));
    char *svg = mem_format("%s/x.svg", dir);
    FILE *f = fopen(svg, "w");
    fputs("<?xml version=\"1.0\"?>\n<!DOCTYPE svg>\n<svg width=\"1\">\n</svg>\n", f);
    fclose(f);
    assert_int_equal(document_open(&d, dir, "r", "A & B", &err), 0);
    document_text(d, "%d < 3 is **true**, `a<b_c` is code, a_b and [c] are not", 2);
    document_text(d, "**a `b");
    document_item(d, "one");
    document_item(d, "two");
    document_table(d, titles, 2);
    document_cell(d, "x");
    document_cell(d, "%.1f %%", 1.5);
    document_figure(d, "x", "what to see");
    assert_int_equal(document_close(d, &err), 0);
    char *md = file_read(dir, "r.md"), *html = file_read(dir, "r.html");
    expect_part(md, "# A & B\n");
    expect_part(md, "2 \\< 3 is **true**, `a<b_c` is code, a\\_b and \\[c\\] are not\n");
    expect_part(md, "* one\n* two\n\n| name | a\\|b |\n|:--|--:|\n| x | 1.5 % |\n\n![x](x.png)\n\n*what to see*\n");
    expect_part(html, "<title>A &amp; B</title>");
    expect_part(html, "<p>2 &lt; 3 is <strong>true</strong>, <code>a&lt;b_c</code> is code, a_b and [c] are not</p>");
    expect_part(html, "<p><strong>a <code>b</code></strong></p>");
    expect_part(html, "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n");
    expect_part(html, "<th>a|b</th></tr></thead>\n<tbody>\n<tr><td>x</td><td>1.5 %</td></tr>\n</tbody>");
    expect_part(html, "<figure>\n<svg width=\"1\">\n</svg>\n<figcaption>what to see</figcaption>");
    assert_null(strstr(html, "<?xml"));
    free(md);
    free(html);
    assert_int_equal(document_open(&d, dir, "r", "T", &err), 0);
    document_figure(d, "none", "c");
    assert_int_equal(document_close(d, &err), -1); /* a plot that is not there */
    free(file_read(dir, "r.md"));
    free(file_read(dir, "r.html"));
    unlink(svg);
    free(svg);
    rmdir(dir);
    assert_int_equal(document_open(&d, dir, "r", "T", &err), -1);
    expect_part(err.text, "r.md: No such file");
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    char dir[] = "/tmp/massv-document-XXXXXX";
    struct document *d;
    struct error err;
    assert_non_null(mkdtemp(dir));
    char *md = mem_format("%s/r.md", dir), *html = mem_format("%s/r.html", dir);
    assert_int_equal(symlink("/dev/full", md), 0);
    assert_int_equal(document_open(&d, dir, "r", "T", &err), 0);
    for (int i = 0; i < 2000; i++) /* more than a stream keeps: a write fails long before the end */
        document_text(d, "some words");
    assert_int_equal(document_close(d, &err), -1);
    expect_part(err.text, "r.md: cannot be written: ");
    assert_null(strstr(err.text, strerror(0)));
    unlink(md);
    unlink(html);
    rmdir(dir);
    free(md);
    free(html);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_the_same_in_both),
        cmocka_unit_test(a_full_disk_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
