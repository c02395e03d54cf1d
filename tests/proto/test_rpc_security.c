/* test_rpc_security.c - TLS, mutual TLS and bearer tokens: who gets in, who does not, and what both are told */
#include "tests/proto/service.h"

#include <unistd.h>

static char folder[] = "/tmp/massv-certificates-XXXXXX";

static const char *file_of(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static void file_write(const char *name, const char *text)
{
    char path[128];
    FILE *f = fopen(file_of(path, name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Names of files in the folder; NULL = none. */
static int security_try(struct rpc_security *security, const struct rpc_security_files *names, struct error *err)
{
    char paths[4][128];
    const struct rpc_security_files files = {.certificate = names->certificate ? file_of(paths[0], names->certificate) : NULL,
                                             .key = names->key ? file_of(paths[1], names->key) : NULL,
                                             .authorities = names->authorities ? file_of(paths[2], names->authorities) : NULL,
                                             .token = names->token ? file_of(paths[3], names->token) : NULL};
    return rpc_security_read(security, &files, err);
}

static struct rpc_security security_of(const struct rpc_security_files *names)
{
    struct rpc_security security;
    struct error err;
    if (security_try(&security, names, &err))
        fail_msg("%s", err.text);
    return security;
}

static const struct rpc_method open_methods[] = {
    {.path = "/open/Echo", .kind = RPC_UNARY, .start = echo_start, .closed = any_closed},
    {0},
};

/* One echo from a client to a server, each with its own files; the status must be as expected. */
static void meet(const struct rpc_security_files *of_server, const struct rpc_security_files *of_client, enum rpc_status expected,
                 const char *words)
{
    struct seen *seen = mem_new(1, sizeof *seen);
    struct rpc_security server = security_of(of_server), client = security_of(of_client);
    const struct rpc_options server_options = {.security = &server}, client_options = {.security = &client};
    const char *address = "127.0.0.1:0";
    struct error err;
    const struct rpc_service services[] = {
        {.methods = methods, .context = seen}, {.methods = open_methods, .context = seen, .needs_no_token = true}, {0}};
    if (rpc_server_open(&seen->server, &address, 1, services, &server_options, &err))
        fail_msg("%s", err.text);
    snprintf(seen->address, sizeof seen->address, "127.0.0.1:%d", rpc_server_port(seen->server, 0));
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &client_options, &err), 0);
    rpc_security_free(&server); /* needed no longer */
    rpc_security_free(&client);
    expect_unary(seen, "/t/Echo", 100, expected, words);
    if (expected == RPC_UNAUTHENTICATED) { /* before any method sees a call */
        expect_unary(seen, "/t/Nothing", 0, expected, "bearer token");
        struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 0);
        expect_end(chat, expected, "bearer token");
        rpc_stream_close(chat);
    }
    if (expected != RPC_OK)
        assert_int_equal(seen->started, 0);
    if (expected == RPC_OK || expected == RPC_UNAUTHENTICATED)
        expect_unary(seen, "/open/Echo", 10, RPC_OK, NULL);
    close_both(seen);
}

static const struct rpc_security_files nothing, ours = {"server.pem", "server.key", NULL, NULL}, trusts = {.authorities = "ca.pem"};

static void tls_connects_whom_the_authority_signs_for(void **state)
{
    (void)state;
    meet(&ours, &trusts, RPC_OK, NULL);
    meet(&ours, &(struct rpc_security_files){.authorities = "other-ca.pem"}, RPC_UNAVAILABLE, "TLS");
    meet(&(struct rpc_security_files){"other.pem", "other.key", NULL, NULL}, &trusts, RPC_UNAVAILABLE, "TLS");
}

static void tls_and_plain_do_not_mix(void **state)
{
    (void)state;
    meet(&nothing, &trusts, RPC_UNAVAILABLE, "TLS");
    meet(&ours, &nothing, RPC_UNAVAILABLE, "127.0.0.1");
}

static void mutual_tls_wants_the_clients_certificate(void **state)
{
    (void)state;
    const struct rpc_security_files strict = {"server.pem", "server.key", "ca.pem", NULL};
    meet(&strict, &(struct rpc_security_files){"client.pem", "client.key", "ca.pem", NULL}, RPC_OK, NULL);
    meet(&strict, &trusts, RPC_UNAVAILABLE, "127.0.0.1");
    meet(&strict, &(struct rpc_security_files){"other.pem", "other.key", "ca.pem", NULL}, RPC_UNAVAILABLE, "127.0.0.1");
}

static void a_token_opens_and_its_lack_is_told(void **state)
{
    (void)state;
    const struct rpc_security_files plain = {.token = "token"}, over_tls = {"server.pem", "server.key", NULL, "token"};
    file_write("token", "sesame.42\n");
    file_write("wrong", "sesame.43");
    file_write("longer", "sesame.420");
    meet(&plain, &plain, RPC_OK, NULL);
    meet(&plain, &nothing, RPC_UNAUTHENTICATED, "bearer token");
    meet(&plain, &(struct rpc_security_files){.token = "wrong"}, RPC_UNAUTHENTICATED, "bearer token");
    meet(&plain, &(struct rpc_security_files){.token = "longer"}, RPC_UNAUTHENTICATED, "bearer token");
    meet(&nothing, &plain, RPC_OK, NULL);
    meet(&over_tls, &(struct rpc_security_files){.authorities = "ca.pem", .token = "token"}, RPC_OK, NULL);
    meet(&over_tls, &trusts, RPC_UNAUTHENTICATED, "bearer token");
}

static void expect_refused(struct rpc_security_files names, const char *file, const char *words)
{
    struct rpc_security security;
    struct error err;
    assert_int_equal(security_try(&security, &names, &err), -1);
    if (!strstr(err.text, file) || !strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, file, words);
    assert_true(!security.certificate && !security.key && !security.authorities && !security.token);
}

static void files_that_are_not_what_they_should_be_are_named(void **state)
{
    (void)state;
    file_write("empty", "");
    file_write("spaces", "two words\n");
    expect_refused((struct rpc_security_files){.certificate = "server.pem"}, "server.pem", "together");
    expect_refused((struct rpc_security_files){.key = "server.key"}, "server.key", "together");
    expect_refused((struct rpc_security_files){"absent.pem", "server.key", NULL, NULL}, "absent.pem", "No such file");
    expect_refused((struct rpc_security_files){"server.key", "server.key", NULL, NULL}, "server.key", "CERTIFICATE");
    expect_refused((struct rpc_security_files){"server.pem", "server.pem", NULL, NULL}, "server.pem", "PRIVATE KEY");
    expect_refused((struct rpc_security_files){.authorities = "."}, "/.", "is it a file?");
    expect_refused((struct rpc_security_files){.token = "empty"}, "empty", "1 to 512");
    expect_refused((struct rpc_security_files){.token = "spaces"}, "spaces", "visible ASCII");
}

static void a_key_of_another_certificate_does_not_listen(void **state)
{
    (void)state;
    struct rpc_security security = security_of(&(struct rpc_security_files){"server.pem", "client.key", NULL, NULL});
    const struct rpc_service services[] = {{.methods = methods}, {0}};
    const struct rpc_options with = {.security = &security};
    const char *address = "127.0.0.1:0";
    struct rpc_server *server;
    struct error err;
    assert_int_equal(rpc_server_open(&server, &address, 1, services, &with, &err), -1);
    assert_non_null(strstr(err.text, "key"));
    rpc_security_free(&security);
}

static int certificates_make(void **state)
{
    char command[256];
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(command, sizeof command, "tests/proto/certificates.sh %s 2>&1", folder);
    return system(command);
}

static int certificates_remove(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_connects_whom_the_authority_signs_for),
        cmocka_unit_test(tls_and_plain_do_not_mix),
        cmocka_unit_test(mutual_tls_wants_the_clients_certificate),
        cmocka_unit_test(a_token_opens_and_its_lack_is_told),
        cmocka_unit_test(files_that_are_not_what_they_should_be_are_named),
        cmocka_unit_test(a_key_of_another_certificate_does_not_listen),
    };
    return cmocka_run_group_tests(tests, certificates_make, certificates_remove);
}
