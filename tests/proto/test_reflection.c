/* test_reflection.c - what reflection says of hand-made files, of those that are built in, and of questions without meaning */
#include "proto/reflection.h"

#include <grpc/reflection/v1/reflection.pb-c.h>
#include <stdio.h>

#include "coordinator/health.h"
#include "coordinator/kserve.h"
#include "coordinator/reflection.h"
#include "coordinator/service.h"
#include "proto/descriptor.pb-c.h"
#include "tests/proto/bytes.h"

#define ANSWER(kind) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##kind##_RESPONSE

enum { HOST = 1, FILE_NAME = 3, SYMBOL = 4, EXTENSION = 5, EXTENSIONS_OF = 6, LIST = 7 }; /* fields of a request */

static struct rpc_bytes files_pack(Massv__Descriptor__File *const *files, size_t n)
{
    Massv__Descriptor__FileSet set = MASSV__DESCRIPTOR__FILE_SET__INIT;
    struct rpc_bytes bytes;
    set.n_file = n;
    set.file = mem_new(n, sizeof *set.file);
    for (size_t i = 0; i < n; i++) {
        set.file[i].len = massv__descriptor__file__get_packed_size(files[i]);
        set.file[i].data = mem_new(set.file[i].len, 1);
        massv__descriptor__file__pack(files[i], set.file[i].data);
    }
    bytes.size = massv__descriptor__file_set__get_packed_size(&set);
    bytes.data = mem_new(bytes.size, 1);
    massv__descriptor__file_set__pack(&set, bytes.data);
    for (size_t i = 0; i < n; i++)
        free(set.file[i].data);
    free(set.file);
    return bytes;
}

/* a.proto of package x imports the others; dir/b.proto of no package imports c.proto of package y.z. */
static struct rpc_bytes three_files(void)
{
    Massv__Descriptor__Item value = MASSV__DESCRIPTOR__ITEM__INIT, field = value, method = value;
    Massv__Descriptor__Enum colour = MASSV__DESCRIPTOR__ENUM__INIT;
    Massv__Descriptor__Message outer = MASSV__DESCRIPTOR__MESSAGE__INIT, inner = MASSV__DESCRIPTOR__MESSAGE__INIT;
    Massv__Descriptor__Service service = MASSV__DESCRIPTOR__SERVICE__INIT;
    Massv__Descriptor__File a = MASSV__DESCRIPTOR__FILE__INIT, b = a, c = a;
    value.name = "RED";
    field.name = "size";
    method.name = "Get";
    colour.name = "Colour";
    colour.n_value = 1;
    colour.value = (Massv__Descriptor__Item *[]){&value};
    inner.name = "Inner";
    inner.n_field = 1;
    inner.field = (Massv__Descriptor__Item *[]){&field};
    outer.name = "Outer";
    outer.n_nested_type = outer.n_enum_type = outer.n_oneof_decl = 1;
    outer.nested_type = (Massv__Descriptor__Message *[]){&inner};
    outer.enum_type = (Massv__Descriptor__Enum *[]){&colour};
    outer.oneof_decl = (Massv__Descriptor__Item *[]){&field};
    service.name = "Things";
    service.n_method = 1;
    service.method = (Massv__Descriptor__Item *[]){&method};
    a.name = "a.proto";
    a.package = "x";
    a.n_dependency = 2;
    a.dependency = (char *[]){"dir/b.proto", "c.proto"};
    a.n_message_type = a.n_service = 1;
    a.message_type = (Massv__Descriptor__Message *[]){&outer};
    a.service = (Massv__Descriptor__Service *[]){&service};
    b.name = "dir/b.proto";
    b.n_dependency = 1;
    b.dependency = (char *[]){"c.proto"};
    b.n_message_type = 1;
    b.message_type = (Massv__Descriptor__Message *[]){&inner};
    c.name = "c.proto";
    c.package = "y.z";
    c.n_enum_type = 1;
    c.enum_type = (Massv__Descriptor__Enum *[]){&colour};
    return files_pack((Massv__Descriptor__File *[]){&a, &b, &c}, 3);
}

static Grpc__Reflection__V1__ServerReflectionResponse *ask(const struct reflection *reflection, int field, const char *text)
{
    struct rpc_bytes bytes;
    struct error err;
    char request[256];
    size_t n = strlen(text);
    request[0] = (char)(field << 3 | 2);
    request[1] = (char)n;
    memcpy(request + 2, text, n);
    if (reflection_answer(reflection, request, n + 2, &bytes, &err) != 0)
        fail_msg("%s", err.text);
    Grpc__Reflection__V1__ServerReflectionResponse *answer =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, bytes.size, bytes.data);
    free(bytes.data);
    assert_non_null(answer);
    assert_non_null(answer->original_request);
    return answer;
}

static void answer_free(Grpc__Reflection__V1__ServerReflectionResponse *answer)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(answer, NULL);
}

/* names: of the files that must come, with a space behind each. */
static void expect_files(const struct reflection *reflection, int field, const char *text, const char *names)
{
    Grpc__Reflection__V1__ServerReflectionResponse *answer = ask(reflection, field, text);
    char got[256] = "";
    if (answer->message_response_case != ANSWER(FILE_DESCRIPTOR))
        fail_msg("no files for %s", text);
    for (size_t i = 0; i < answer->file_descriptor_response->n_file_descriptor_proto; i++) {
        const ProtobufCBinaryData *bytes = &answer->file_descriptor_response->file_descriptor_proto[i];
        Massv__Descriptor__File *file = massv__descriptor__file__unpack(NULL, bytes->len, bytes->data);
        assert_non_null(file);
        strcat(strcat(got, file->name), " ");
        massv__descriptor__file__free_unpacked(file, NULL);
    }
    assert_string_equal(got, names);
    answer_free(answer);
}

static void expect_error(const struct reflection *reflection, int field, const char *text, enum rpc_status code, const char *words)
{
    Grpc__Reflection__V1__ServerReflectionResponse *answer = ask(reflection, field, text);
    if (answer->message_response_case != ANSWER(ERROR))
        fail_msg("an answer for %s", text);
    assert_int_equal(answer->error_response->error_code, code);
    if (!strstr(answer->error_response->error_message, words))
        fail_msg("\"%s\" does not say \"%s\"", answer->error_response->error_message, words);
    answer_free(answer);
}

static void files_come_with_what_they_import(void **state)
{
    (void)state;
    struct reflection *r;
    struct rpc_bytes files = three_files();
    assert_int_equal(reflection_open(&r, files, NULL), 0);
    static const struct row {
        int field;
        const char *text, *names;
    } rows[] = {
        {FILE_NAME, "a.proto", "a.proto dir/b.proto c.proto "},
        {FILE_NAME, "dir/b.proto", "dir/b.proto c.proto "},
        {FILE_NAME, "c.proto", "c.proto "},
        {SYMBOL, "x.Things", "a.proto dir/b.proto c.proto "},
        {SYMBOL, "x.Things.Get", "a.proto dir/b.proto c.proto "},
        {SYMBOL, "x.Outer.Inner.size", "a.proto dir/b.proto c.proto "},
        {SYMBOL, "x.Outer.RED", "a.proto dir/b.proto c.proto "},
        {SYMBOL, "x.Outer.size", "a.proto dir/b.proto c.proto "},
        {SYMBOL, "Inner.size", "dir/b.proto c.proto "},
        {SYMBOL, "y.z.Colour", "c.proto "},
        {SYMBOL, "y.z.RED", "c.proto "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_files(r, rows[i].field, rows[i].text, rows[i].names);
    reflection_close(r);
    free(files.data);
}

static void questions_without_an_answer_are_told_why(void **state)
{
    (void)state;
    struct reflection *r;
    struct rpc_bytes files = three_files();
    assert_int_equal(reflection_open(&r, files, NULL), 0);
    static const struct row {
        int field;
        const char *text;
        enum rpc_status code;
        const char *words;
    } rows[] = {
        {FILE_NAME, "b.proto", RPC_NOT_FOUND, "file_by_filename: \"b.proto\""},
        {FILE_NAME, "", RPC_NOT_FOUND, "file_by_filename: \"\""},
        {SYMBOL, "x", RPC_NOT_FOUND, "file_containing_symbol: \"x\""},
        {SYMBOL, "x.Colour", RPC_NOT_FOUND, "x.Colour"},
        {SYMBOL, "x.Outer.Colour.RED", RPC_NOT_FOUND, "RED"},
        {SYMBOL, ".x.Outer", RPC_NOT_FOUND, ".x.Outer"},
        {EXTENSION, "\x0a\x01x", RPC_UNIMPLEMENTED, "no extensions"},
        {EXTENSIONS_OF, "x.Outer", RPC_UNIMPLEMENTED, "no extensions"},
        {HOST, "here", RPC_INVALID_ARGUMENT, "message_request"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_error(r, rows[i].field, rows[i].text, rows[i].code, rows[i].words);
    Grpc__Reflection__V1__ServerReflectionResponse *answer = ask(r, HOST, "here");
    assert_string_equal(answer->valid_host, "here");
    assert_string_equal(answer->original_request->host, "here");
    answer_free(answer);
    reflection_close(r);
    free(files.data);
}

static int try_answer(const void *data, size_t size, struct error *err)
{
    struct reflection *r;
    struct rpc_bytes bytes;
    assert_int_equal(reflection_open(&r, reflection_files(), NULL), 0);
    int result = reflection_answer(r, data, size, &bytes, err);
    free(bytes.data);
    reflection_close(r);
    return result;
}

static void broken_questions_are_refused(void **state)
{
    (void)state;
    const struct bad_bytes rows[] = {
        BAD("\x18\x01", "file_by_filename: has another type"),
        BAD("\x22\x05x", "cut short"),
        BAD("\x22\x01x\x3a\x01x", "given twice, or beside another field of its oneof"),
        BAD("\x22\x01\xff", "is not UTF-8"),
    };
    bytes_expect_refusals(rows, sizeof rows / sizeof *rows, try_answer);
    bytes_garbage(try_answer);
}

static void broken_files_are_refused(void **state)
{
    (void)state;
    struct reflection *r;
    struct error err;
    Massv__Descriptor__File lonely = MASSV__DESCRIPTOR__FILE__INIT;
    lonely.name = "lonely.proto";
    lonely.n_dependency = 1;
    lonely.dependency = (char *[]){"gone.proto"};
    struct rpc_bytes files = files_pack((Massv__Descriptor__File *[]){&lonely}, 1);
    assert_int_equal(reflection_open(&r, files, &err), -1);
    assert_non_null(strstr(err.text, "lonely.proto imports gone.proto"));
    free(files.data);
    assert_int_equal(reflection_open(&r, (struct rpc_bytes){"\x0a\x05x", 3}, &err), -1);
    assert_int_equal(reflection_open(&r, (struct rpc_bytes){"\x0a\x01\xff", 3}, &err), -1);
}

/* "/massv.v1.Control/Health" is the symbol massv.v1.Control.Health. */
static void every_method_of_the_public_port_is_described(void **state)
{
    (void)state;
    const struct rpc_method *const tables[] = {service_methods, kserve_methods, health_methods, reflection_methods};
    struct reflection *r;
    size_t n = 0;
    assert_int_equal(reflection_open(&r, reflection_files(), NULL), 0);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (const struct rpc_method *method = tables[i]; method->path; method++, n++) {
            char symbol[128];
            snprintf(symbol, sizeof symbol, "%s", method->path + 1);
            *strchr(symbol, '/') = '.';
            Grpc__Reflection__V1__ServerReflectionResponse *answer = ask(r, SYMBOL, symbol);
            if (answer->message_response_case == ANSWER(ERROR))
                fail_msg("%s", answer->error_response->error_message);
            answer_free(answer);
        }
    }
    assert_true(n > 16);
    reflection_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_come_with_what_they_import),
        cmocka_unit_test(questions_without_an_answer_are_told_why),
        cmocka_unit_test(broken_questions_are_refused),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(every_method_of_the_public_port_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
