/* test_metrics_page.c - where the page of metrics listens */
#include "tests/check.h"

#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

#include "coordinator/metrics_page.h"

/* Instead of the C library's: "several" stands for an address that no machine has (RFC 5737) and then for loopback, "nowhere" for
 * the first alone. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &symbol, sizeof real);
    bool several = host && strcmp(host, "several") == 0, nowhere = host && strcmp(host, "nowhere") == 0;
    int unknown = real(several || nowhere ? "192.0.2.1" : host, port, hints, found);
    return unknown || !several ? unknown : real("127.0.0.1", port, hints, &(*found)->ai_next);
}

static void the_first_address_of_a_name_that_is_ours_is_taken(void **state)
{
    (void)state;
    struct metrics_page *page;
    struct error err = {""};
    if (metrics_page_open(&page, &(struct metrics_page_options){.address = "several:0"}, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(metrics_page_port(page) > 0);
    metrics_page_close(page);
}

static void a_name_without_an_address_of_ours_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct metrics_page *page;
    struct error err = {""};
    assert_int_equal(metrics_page_open(&page, &(struct metrics_page_options){.address = "nowhere:0"}, &err), -1);
    assert_string_equal(err.text, "cannot listen on nowhere:0: Cannot assign requested address");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_address_of_a_name_that_is_ours_is_taken),
        cmocka_unit_test(a_name_without_an_address_of_ours_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
