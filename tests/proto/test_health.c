/* test_health.c - the messages of grpc.health.v1, byte for byte as its protocol has them */
#include "proto/health.h"
#include "tests/proto/bytes.h"

static int try_check(const void *data, size_t size, struct error *err)
{
    char service[HEALTH_SERVICE_MAX + 1];
    return health_check_unpack(service, data, size, err);
}

static void expect_bytes(struct rpc_bytes bytes, const char *expected, size_t size)
{
    assert_int_equal(bytes.size, size);
    assert_memory_equal(bytes.data, expected, size);
    free(bytes.data);
}

static void messages_are_those_of_the_protocol(void **state)
{
    (void)state;
    char service[HEALTH_SERVICE_MAX + 1];
    struct rpc_bytes bytes;
    assert_int_equal(health_check_unpack(service, "", 0, NULL), 0);
    assert_string_equal(service, "");
    assert_int_equal(health_check_unpack(service,
                                         "\x0a\x03"
                                         "a.B",
                                         5, NULL),
                     0);
    assert_string_equal(service, "a.B");
    health_status_pack(HEALTH_SERVING, &bytes);
    expect_bytes(bytes, "\x08\x01", 2);
    health_status_pack(HEALTH_SERVICE_UNKNOWN, &bytes);
    expect_bytes(bytes, "\x08\x03", 2);
    health_list_pack((const struct health_entry[]){{"x", HEALTH_NOT_SERVING}}, 1, &bytes);
    expect_bytes(bytes, "\x0a\x07\x0a\x01x\x12\x02\x08\x02", 9);
}

static void broken_messages_are_refused(void **state)
{
    (void)state;
    static char long_name[3 + HEALTH_SERVICE_MAX + 1] = "\x0a\x80\x02"; /* 256 bytes of name */
    memset(long_name + 3, 'x', sizeof long_name - 3);
    const struct bad_bytes rows[] = {
        BAD("\x08\x01", "service: has another type"),
        BAD("\x0a\x05"
            "ab",
            "cut short"),
        BAD("\x0a\x02\xc3\x28", "service: is not UTF-8"),
        BAD("\x0a\x01x\x0a\x01y", "given twice"),
        {long_name, sizeof long_name, "service: 256 bytes are above 255"},
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_check);
    bytes_damage(&(struct rpc_bytes){"\x0a\x12massv.v1.Inference", 20}, try_check);
    bytes_garbage(try_check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_those_of_the_protocol),
        cmocka_unit_test(broken_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
