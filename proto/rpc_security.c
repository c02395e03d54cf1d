/* rpc_security.c - reading certificates and tokens, and what core makes of them */
#include "proto/rpc_security.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_security.h>

#include "base/memory.h"

enum { FILE_BYTES = 1 << 20, TOKEN_BYTES = 512 };

static const char bearer[] = "Bearer ";

/* The whole of a small text file, malloc'ed. */
static char *text_read(const char *path, struct error *err)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        fail(err, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = mem_new(FILE_BYTES + 1, 1);
    size_t size = fread(text, 1, FILE_BYTES, f);
    int broken = ferror(f), more = fgetc(f) != EOF;
    fclose(f);
    if (!broken && !more && strlen(text) == size)
        return text;
    fail(err,
         broken ? "%s: cannot be read: is it a file?" : "%s: neither PEM nor a token is longer than %d bytes or has zero bytes",
         path, FILE_BYTES);
    free(text);
    return NULL;
}

/* path NULL: none. */
static int pem_read(char **text, const char *path, const char *kind, struct error *err)
{
    if (!path)
        return 0;
    *text = text_read(path, err);
    if (!*text)
        return -1;
    return strstr(*text, kind) ? 0 : fail(err, "%s: has no \"-----BEGIN ... %s\" as a PEM file of it does", path, kind);
}

/* 0 for 1 to TOKEN_BYTES visible ASCII characters. */
static int token_check(const char *token, struct error *err)
{
    size_t size = strlen(token);
    for (size_t i = 0; i < size; i++)
        if (token[i] <= ' ' || token[i] > '~')
            return fail(err, "byte %zu of the token: visible ASCII without spaces is right", i);
    return size && size <= TOKEN_BYTES ? 0 : fail(err, "a token of %zu bytes: 1 to %d are right", size, TOKEN_BYTES);
}

static int token_read(char **token, const char *path, struct error *err)
{
    if (!path)
        return 0;
    *token = text_read(path, err);
    if (!*token)
        return -1;
    size_t size = strlen(*token);
    while (size && strchr("\r\n", (*token)[size - 1]))
        (*token)[--size] = 0;
    return token_check(*token, err) ? fail_in(err, "%s", path) : 0;
}

int rpc_security_read(struct rpc_security *security, const struct rpc_security_files *files, struct error *err)
{
    *security = (struct rpc_security){0};
    if (!files->certificate != !files->key)
        return fail(err, "%s: a certificate and its key come together", files->certificate ? files->certificate : files->key);
    if (pem_read(&security->certificate, files->certificate, "CERTIFICATE-----", err) == 0 &&
        pem_read(&security->key, files->key, "PRIVATE KEY-----", err) == 0 &&
        pem_read(&security->authorities, files->authorities, "CERTIFICATE-----", err) == 0 &&
        token_read(&security->token, files->token, err) == 0)
        return 0;
    rpc_security_free(security);
    return -1;
}

int rpc_security_environment(struct rpc_security *security, const char *variable, struct error *err)
{
    const char *token = getenv(variable);
    if (security->token || !token)
        return 0;
    if (token_check(token, err) != 0)
        return fail_in(err, "%s", variable);
    security->token = mem_string(token);
    return 0;
}

/* The key and the token do not stay behind in freed memory. */
static void secret_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void rpc_security_free(struct rpc_security *security)
{
    free(security->certificate);
    free(security->authorities);
    secret_free(security->key);
    secret_free(security->token);
    *security = (struct rpc_security){0};
}

grpc_server_credentials *rpc_server_credentials(const struct rpc_security *security)
{
    if (!security || !security->certificate)
        return grpc_insecure_server_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = {security->key, security->certificate};
    return grpc_ssl_server_credentials_create_ex(security->authorities, &pair, 1,
                                                 security->authorities ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                                       : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
                                                 NULL);
}

grpc_channel_credentials *rpc_channel_credentials(const struct rpc_security *security)
{
    if (!security || !security->authorities)
        return grpc_insecure_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = {security->key, security->certificate};
    return grpc_ssl_credentials_create_ex(security->authorities, security->certificate ? &pair : NULL, NULL, NULL);
}

char *rpc_token_header(const char *token)
{
    return mem_format("%s%s", bearer, token);
}

/* In a time that depends on the lengths alone. */
static bool texts_equal(const char *a, size_t n, const char *b, size_t m)
{
    unsigned char differ = n != m;
    for (size_t i = 0; i < n && i < m; i++)
        differ = (unsigned char)(differ | (a[i] ^ b[i]));
    return !differ;
}

bool rpc_token_shown(const char *header, const grpc_metadata_array *metadata)
{
    for (size_t i = 0; i < metadata->count; i++) {
        const grpc_metadata *item = &metadata->metadata[i];
        if (grpc_slice_str_cmp(item->key, "authorization") == 0 &&
            texts_equal((const char *)GRPC_SLICE_START_PTR(item->value), GRPC_SLICE_LENGTH(item->value), header, strlen(header)))
            return true;
    }
    return false;
}
